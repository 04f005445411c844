"""Held mode: a gateway that holds the upstream key, and the tokens of its callers."""

from pathlib import Path

from programs import KEY, run


def new_token(name: str, agents: str = "*") -> tuple[str, str]:
    """A new token, and its line for the tokens file."""
    made = run("token", "new", "--name", name, "--agents", agents)
    assert made.returncode == 0, made.stderr
    token = made.stderr.split()[-1]
    assert token not in made.stdout
    return token, made.stdout


def held_flags(directory: Path, **agents: str) -> tuple[list[str], dict[str, str]]:
    """The flags for a gateway with a held key, and a token by name for each list of agents."""
    made = {name: new_token(name, reach) for name, reach in agents.items()}
    flags = file_flags(directory, "".join(line for _, line in made.values()))
    return flags, {name: token for name, (token, _) in made.items()}


def file_flags(directory: Path, tokens: str) -> list[str]:
    """The flags for a gateway with a held key and a tokens file with these lines."""
    (directory / "tokens").write_text(tokens)
    (directory / "key").write_text(f"{KEY}\n")
    return ["--upstream-key-file", str(directory / "key"), "--client-tokens-file", str(directory / "tokens")]
