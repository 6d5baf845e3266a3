"""Draws a table that it is given. Run it with its packages, its table, and a place for its picture:

pool run --with numpy,pandas,matplotlib --file examples/table.csv \\
    --collect '*.png' --out pictures examples/plot.py
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot
import pandas

table = pandas.read_csv("table.csv")
plot.plot(table["day"], table["sales"])
plot.savefig("sales.png")
print(table.describe())
