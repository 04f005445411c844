"""A gateway that holds the key, and the tokens of its callers."""

from pathlib import Path

from programs import KEY, run


def held_flags(directory: Path, **agents: str) -> tuple[list[str], dict[str, str]]:
    """The flags of a gateway that holds the key, and a token by name for each list of agents."""
    lines, tokens = [], {}
    for name, reach in agents.items():
        made = run("token", "new", "--name", name, "--agents", reach)
        lines.append(made.stdout)
        tokens[name] = made.stderr.split()[-1]
    (directory / "tokens").write_text("".join(lines))
    (directory / "key").write_text(KEY)
    flags = ["--upstream-key-file", str(directory / "key"), "--client-tokens-file", str(directory / "tokens")]
    return flags, tokens
