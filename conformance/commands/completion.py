"""``conformance completion``: what a shell completes, written from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from conformance.commands.options import Commands

BASH = """\
_conformance() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "$command" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _conformance conformance
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + BASH


def add_to(commands: Commands) -> None:
    """Say what ``completion`` takes."""
    parser = commands.add_parser(
        "completion",
        help="print completion for a shell",
        description="bash: `source <(conformance completion bash)`; zsh likewise; "
        "fish: `conformance completion fish | source`.",
    )
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(command=lambda options: run(options, commands))


def run(options: argparse.Namespace, commands: Commands) -> int:
    """Print the script."""
    from conformance.planning.names import check_names
    from conformance.planning.select import own_names

    variants = [name for name, _ in own_names()]
    words = {name: _words(parser, variants, check_names()) for name, parser in commands.choices.items()}
    print(SHELLS[options.shell](words), end="")
    return 0


def _words(parser: argparse.ArgumentParser, variants: list[str], checks: tuple[str, ...]) -> list[str]:
    """Options, fixed choices, and the variants where a command takes them."""
    found: list[str] = []
    for action in parser._actions:
        found += [option for option in action.option_strings if option.startswith("--")]
        if action.dest in ("variants", "variant"):
            found += variants
        if action.dest == "check":
            found += checks
        if action.choices:
            found += [str(choice) for choice in action.choices]
    return found


def _bash(words: dict[str, list[str]], template: str = BASH) -> str:
    cases = [f'            {name}) words="{" ".join(each)}" ;;' for name, each in words.items()]
    return template.format(commands=" ".join(words), cases="\n".join(cases))


def _zsh(words: dict[str, list[str]]) -> str:
    return _bash(words, ZSH)


def _fish(words: dict[str, list[str]]) -> str:
    lines = [f"complete -c conformance -n __fish_use_subcommand -f -a '{' '.join(words)}'"]
    for name, each in words.items():
        for word in each:
            what = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            lines.append(f"complete -c conformance -n '__fish_seen_subcommand_from {name}' {what}")
    return "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[dict[str, list[str]]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""What writes the script of each."""
