"""What `make quick` runs: the tests that find most in under a minute, without Ray or PyTorch.

The modules that are not listed are not imported; what is marked `slow` is left out.
"""

ALL = ()

QUICK: dict[str, tuple[str, ...]] = {
    "test_imports.py": ALL,
    "test_extras.py": ALL,
    "test_install.py": ("test_importing_costs_little",),
    "pool/test_branches.py": ALL,
    "pool/test_command.py": (
        "test_a_dash_reads_the_program_from_standard_input",
        "test_a_pipe_gets_the_programs_bytes",
    ),
    "pool/test_files.py": ALL,
    "pool/test_function.py": ALL,
    "pool/test_program.py": ALL,
    "pool/engine/test_queue.py": ALL,
    "pool/engine/test_timer.py": ALL,
    "pool/test_mailbox.py": ALL,
    "pool/test_run.py": ALL,
    "pool/test_run_limits.py": ALL,
    "pool/test_session.py": ALL,
    "pool/judge/test_cases.py": ALL,
    "pool/judge/test_text.py": ALL,
    "pool/judge/test_verdict.py": ALL,
    "sandbox/jail/test_cgroups.py": ALL,
    "sandbox/run/test_dialogue.py": ALL,
    "sandbox/host/test_probe.py": ALL,
    "sandbox/host/test_interpreter.py": ALL,
    "sandbox/run/test_job.py": ALL,
    "sandbox/test_limits.py": ALL,
    "sandbox/test_reasons.py": ALL,
    "sandbox/guest/test_report.py": ALL,
    "sandbox/test_result.py": ALL,
    "sandbox/jail/test_seccomp.py": ALL,
    "sandbox/guest/test_wire.py": ALL,
    "security/test_between_runs.py": ALL,
    "security/test_files.py": ALL,
    "security/test_kernel.py": ALL,
    "security/test_network.py": ALL,
    "security/test_processes.py": ALL,
    "security/test_scratch.py": ALL,
    "transforms/test_extract.py": ALL,
    "transforms/test_render.py": ALL,
}
"""Modules of tests, and which of their functions; all where none is named."""
