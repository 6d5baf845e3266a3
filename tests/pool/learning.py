"""Programs as people write them when they learn a library; a line `# %%` begins another cell."""

PROGRAMS = {
    # ---- numpy
    "numpy arrays": """
import numpy as np
a = np.arange(12).reshape(3, 4)
print(a, a.shape, a.dtype, a.ndim, sep="\\n")
# %%
print(a.sum(axis=0), a.mean(axis=1), a[:, 1], a[a % 2 == 0])
""",
    "numpy broadcasting": """
import numpy as np
rows = np.arange(1, 6)[:, None]
# %%
table = rows * np.arange(1, 6)
print(table)
print((table == table.T).all())
""",
    "numpy linear algebra": """
import numpy as np
a = np.array([[3.0, 1.0], [1.0, 2.0]])
b = np.array([9.0, 8.0])
# %%
x = np.linalg.solve(a, b)
print(x.round(6), np.allclose(a @ x, b))
# %%
values, vectors = np.linalg.eigh(a)
print(values.round(4), abs(vectors).round(4), round(float(np.linalg.det(a)), 6))
""",
    "numpy matrix product": """
import numpy as np
rng = np.random.default_rng(0)
a, b = rng.normal(size=(200, 300)), rng.normal(size=(300, 100))
# %%
c = a @ b
print(c.shape, np.allclose(c[3, 5], (a[3] * b[:, 5]).sum()))
q, r = np.linalg.qr(a[:, :50])
print(np.allclose(q @ r, a[:, :50]))
""",
    "numpy random walk": """
import numpy as np
rng = np.random.default_rng(seed=42)
steps = rng.choice([-1, 1], size=(1000, 500))
# %%
walks = steps.cumsum(axis=1)
print(walks.shape, walks.max(), walks.min(), round(float(walks[:, -1].std()), 3))
""",
    "numpy structured": """
import numpy as np
people = np.array([("Ann", 31, 1.7), ("Bob", 25, 1.8)], dtype=[("name", "U10"), ("age", int), ("height", float)])
print(np.sort(people, order="age")["name"], people["height"].mean())
""",
    "numpy masks and where": """
import numpy as np
t = np.array([12.0, np.nan, 30.5, 18.2])
# %%
print(np.nanmean(t), np.where(np.isnan(t), 0, t), np.isnan(t).sum())
m = np.ma.masked_invalid(t)
print(m, m.mean())
""",
    "numpy warnings": """
import numpy as np
with np.errstate(divide="ignore", invalid="ignore"):
    print(np.array([1.0, 0.0]) / np.array([0.0, 0.0]))
try:
    np.zeros(3) + np.zeros(4)
except ValueError as error:
    print(error)
""",
    "numpy fft": """
import numpy as np
n = 256
t = np.arange(n) / n
signal = np.sin(2 * np.pi * 10 * t) + 0.5 * np.sin(2 * np.pi * 40 * t)
# %%
spectrum = np.abs(np.fft.rfft(signal)) / n * 2
print([int(k) for k in np.argsort(spectrum)[-2:][::-1]], spectrum[[10, 40]].round(3))
""",
    "numpy files": """
import numpy as np
a = np.linspace(0, 1, 5)
np.save("a.npy", a)
np.savetxt("a.csv", a, fmt="%.2f")
# %%
print(np.load("a.npy"), open("a.csv").read().split())
""",
    "numpy game of life": """
import numpy as np
grid = np.zeros((6, 6), int)
grid[1, 2] = grid[2, 3] = grid[3, 1:4] = 1
# %%
def step(g):
    around = sum(np.roll(np.roll(g, i, 0), j, 1) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j)
    return ((around == 3) | (g & (around == 2))).astype(int)
for _ in range(4):
    grid = step(grid)
print(grid)
""",
    # ---- pandas
    "pandas frame": """
import pandas as pd
df = pd.DataFrame({"city": ["Rome", "Oslo", "Lima"], "people": [2.8, 0.7, 10.0], "sea": [False, True, True]})
print(df)
# %%
print(df.describe())
print(df[df.sea].sort_values("people", ascending=False).reset_index(drop=True))
""",
    "pandas groupby": """
import pandas as pd
sales = pd.DataFrame({"shop": list("AABBB"), "item": ["x", "y", "x", "x", "y"], "n": [1, 2, 3, 4, 5]})
# %%
print(sales.groupby("shop").n.agg(["sum", "mean", "count"]))
print(sales.pivot_table(index="shop", columns="item", values="n", aggfunc="sum"))
""",
    "pandas merge": """
import pandas as pd
left = pd.DataFrame({"key": [1, 2, 3], "a": ["x", "y", "z"]})
right = pd.DataFrame({"key": [2, 3, 4], "b": [20, 30, 40]})
# %%
print(left.merge(right, on="key", how="outer"))
print(pd.concat([left, right]).isna().sum())
""",
    "pandas csv": """
import io
import pandas as pd
text = "day,rain\\n2024-01-01,1.5\\n2024-01-02,\\n2024-01-03,0.0\\n"
df = pd.read_csv(io.StringIO(text), parse_dates=["day"])
# %%
print(df.dtypes, df.rain.fillna(0).tolist(), df.day.dt.day_name().tolist())
df.to_csv("out.csv", index=False)
print(open("out.csv").read())
""",
    "pandas time series": """
import numpy as np
import pandas as pd
index = pd.date_range("2024-01-01", periods=90, freq="D")
series = pd.Series(np.arange(90), index=index)
# %%
print(series.resample("MS").sum())
print(series.rolling(7).mean().tail(3))
""",
    "pandas strings and apply": """
import pandas as pd
names = pd.Series(["ada lovelace", "alan turing", None])
print(names.str.title(), names.str.split().str[-1].tolist())
print(pd.Series([1, 2, 3]).apply(lambda n: n**2).tolist(), pd.cut(pd.Series([1, 5, 9]), [0, 3, 6, 10], labels=["low", "mid", "high"]).tolist())
""",
    "pandas error": """
import pandas as pd
df = pd.DataFrame({"a": [1]})
try:
    df["b"]
except KeyError as error:
    print("no column", error)
# %%
print(pd.to_numeric(pd.Series(["1", "x"]), errors="coerce").tolist())
""",
    # ---- scipy
    "scipy optimise": """
from scipy import optimize
result = optimize.minimize(lambda v: (v[0] - 1) ** 2 + (v[1] + 2) ** 2, [0, 0])
print(result.success, result.x.round(3))
# %%
print(round(optimize.brentq(lambda x: x**3 - 2, 0, 2), 6))
""",
    "scipy integrate": """
import numpy as np
from scipy import integrate
area, _ = integrate.quad(np.sin, 0, np.pi)
print(round(area, 9))
# %%
solution = integrate.solve_ivp(lambda t, y: -y, (0, 2), [1.0], rtol=1e-8)
print(round(float(solution.y[0, -1]), 5), round(float(np.exp(-2)), 5))
""",
    "scipy statistics": """
import numpy as np
from scipy import stats
rng = np.random.default_rng(1)
a, b = rng.normal(0, 1, 200), rng.normal(0.5, 1, 200)
# %%
test = stats.ttest_ind(a, b)
print(test.pvalue < 0.01, round(float(stats.norm.cdf(1.96)), 4))
print(stats.linregress([1, 2, 3], [2, 4, 6]).slope)
""",
    "scipy sparse and spatial": """
import numpy as np
from scipy import sparse, spatial
m = sparse.csr_matrix(np.eye(4) * 3)
print(m.nnz, (m @ np.ones(4)))
# %%
tree = spatial.cKDTree(np.array([[0, 0], [1, 1], [5, 5]]))
print(tree.query([0.9, 0.9])[1], spatial.distance.cosine([1, 0], [0, 1]))
""",
    "scipy interpolate": """
import numpy as np
from scipy.interpolate import CubicSpline
x = np.linspace(0, 2 * np.pi, 12)
spline = CubicSpline(x, np.sin(x))
print(np.abs(spline(1.0) - np.sin(1.0)) < 1e-3, spline(x[3], 1).round(2))
""",
    # ---- sympy
    "sympy algebra": """
from sympy import *
x, y = symbols("x y")
print(expand((x + y) ** 3), factor(x**2 - 5 * x + 6))
# %%
print(solve(x**2 - 2, x), simplify(sin(x) ** 2 + cos(x) ** 2))
""",
    "sympy calculus": """
import sympy as sp
x = sp.symbols("x")
# %%
print(sp.diff(sp.exp(x) * sp.sin(x), x), sp.integrate(x * sp.exp(-x), (x, 0, sp.oo)))
print(sp.limit(sp.sin(x) / x, x, 0), sp.series(sp.cos(x), x, 0, 6))
""",
    "sympy matrices and numbers": """
from sympy import Matrix, Rational, factorint, isprime, latex, prime
m = Matrix([[1, 2], [3, 4]])
print(m.inv(), m.eigenvals(), m.det())
print(factorint(2024), isprime(97), prime(100), Rational(1, 3) + Rational(1, 6), latex(m))
""",
    # ---- matplotlib
    "matplotlib lines": """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import os
# %%
figure, axes = plt.subplots()
axes.plot([1, 2, 3], [1, 4, 9], label=r"$x^2$")
axes.set_title("squares")
axes.legend()
# %%
figure.savefig("plot.png")
figure.savefig("plot.pdf")
print(os.path.getsize("plot.png") > 1000, os.path.getsize("plot.pdf") > 1000)
print(axes.get_title(), [t.get_text() for t in axes.get_legend().get_texts()])
""",
    "matplotlib kinds": """
import io
import matplotlib.pyplot as plt
import numpy as np
fig, axs = plt.subplots(2, 2, figsize=(6, 6))
axs[0, 0].hist(np.arange(100) % 7, bins=7)
axs[0, 1].scatter([1, 2], [3, 4])
axs[1, 0].bar(["a", "b"], [3, 5])
axs[1, 1].imshow(np.eye(5))
# %%
buffer = io.BytesIO()
plt.tight_layout()
plt.savefig(buffer, format="svg")
print(b"<svg" in buffer.getvalue(), len(axs[0, 0].patches))
plt.show()
""",
    # ---- networkx
    "networkx paths": """
import networkx as nx
g = nx.Graph()
g.add_weighted_edges_from([("a", "b", 4), ("a", "c", 1), ("c", "b", 2), ("b", "d", 5)])
# %%
print(nx.dijkstra_path(g, "a", "d"), nx.dijkstra_path_length(g, "a", "d"))
print(sorted(nx.minimum_spanning_edges(g, data=False)), dict(g.degree))
""",
    "networkx structure": """
import networkx as nx
g = nx.karate_club_graph()
print(g, nx.diameter(g), nx.is_connected(g))
# %%
rank = nx.pagerank(g)
print(max(rank, key=rank.get), round(sum(rank.values()), 6), len(list(nx.connected_components(g))))
d = nx.DiGraph([(1, 2), (2, 3), (1, 3)])
print(list(nx.topological_sort(d)), nx.is_directed_acyclic_graph(d))
""",
    # ---- torch
    "torch tensors": """
import torch
a = torch.arange(6.0).reshape(2, 3)
print(a, a.shape, a @ a.T, a.mean(), sep="\\n")
# %%
print(torch.cat([a, a]).shape, a.numpy().sum(), torch.from_numpy(a.numpy() * 2)[0])
""",
    "torch autograd": """
import torch
x = torch.tensor([2.0, 3.0], requires_grad=True)
y = (x**2).sum()
# %%
y.backward()
print(x.grad, y.item())
""",
    "torch regression": """
import torch
torch.manual_seed(0)
x = torch.linspace(-1, 1, 100).unsqueeze(1)
y = 3 * x + 0.5
# %%
model = torch.nn.Linear(1, 1)
optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
for _ in range(200):
    optimiser.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimiser.step()
# %%
print(round(model.weight.item(), 3), round(model.bias.item(), 3), loss.item() < 1e-6)
""",
    "torch network": """
import torch
from torch import nn
torch.manual_seed(1)
net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
data = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
target = torch.tensor([[0.0], [1], [1], [0]])
# %%
optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
for _ in range(300):
    optimiser.zero_grad()
    loss = nn.BCEWithLogitsLoss()(net(data), target)
    loss.backward()
    optimiser.step()
print((net(data) > 0).int().flatten().tolist(), sum(p.numel() for p in net.parameters()))
# %%
torch.save(net.state_dict(), "net.pt")
print(sorted(torch.load("net.pt")))
""",
    "torch data loader": """
import torch
from torch.utils.data import DataLoader, TensorDataset
data = TensorDataset(torch.arange(10.0), torch.arange(10) % 2)
# %%
for x, y in DataLoader(data, batch_size=4):
    print(x.tolist(), y.tolist())
""",
    "torch convolution": """
import torch
torch.manual_seed(0)
image = torch.rand(1, 3, 32, 32)
layer = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1)
print(torch.nn.functional.max_pool2d(torch.relu(layer(image)), 2).shape)
with torch.no_grad():
    print(torch.softmax(torch.tensor([1.0, 2.0, 3.0]), 0).sum().item())
""",
    # ---- scikit-learn, tqdm, several together
    "scikit-learn classify": """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
x, y = load_iris(return_X_y=True)
# %%
a, b, c, d = train_test_split(x, y, random_state=0)
model = LogisticRegression(max_iter=500).fit(a, c)
print(model.score(b, d) > 0.9, model.predict(b[:3]))
""",
    "scikit-learn cluster and forest": """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
x = np.vstack([np.random.default_rng(0).normal(m, 0.3, (40, 2)) for m in (0, 4)])
# %%
print(sorted(np.bincount(KMeans(2, n_init=3, random_state=0).fit_predict(x)).tolist()))
# %%
y = np.repeat([0, 1], 40)
print(make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)).fit(x, y).score(x, y))
""",
    "tqdm bar": """
import sys
from tqdm import tqdm
total = 0
for n in tqdm(range(1000), file=sys.stdout, disable=True):
    total += n
for n in tqdm(range(10)):
    total += n
# %%
print(total)
""",
    "pandas and matplotlib": """
import matplotlib.pyplot as plt
import pandas as pd
df = pd.DataFrame({"x": range(10), "y": [n * n for n in range(10)]})
# %%
axes = df.plot(x="x", y="y", kind="line", title="growth")
axes.figure.savefig("growth.png")
print(axes.get_title(), len(axes.lines), df.corr().round(3).loc["x", "y"])
""",
    "pandas and scipy": """
import numpy as np
import pandas as pd
from scipy import stats
rng = np.random.default_rng(5)
df = pd.DataFrame({"group": rng.choice(["a", "b"], 300), "value": rng.gamma(2.0, 1.0, 300)})
# %%
summary = df.groupby("group")["value"].agg(["count", "median"]).round(3)
print(summary)
print(stats.mannwhitneyu(*(g.value for _, g in df.groupby("group"))).pvalue > 0.001)
""",
}
