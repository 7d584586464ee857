"""What is known of the authors' repositories: licence, and the newest commit seen beside the one that was recorded.

Checked against stored snapshots on 2026-11-21. None of their code is here.
"""

from __future__ import annotations

from dataclasses import dataclass

CHECKED = "2026-11-21"


@dataclass(frozen=True)
class Repository:
    """``licence`` in the words of its file, or why none is known; ``newest``: commit and date, empty if not public."""

    licence: str
    newest: str = ""


REPOSITORIES: dict[str, Repository] = {
    "https://github.com/microsoft/LoRA": Repository("MIT", "cb3c07726080020f2d2ed5d732cd14c35068fe92 (2026-02-25)"),
    "https://github.com/NVlabs/DoRA": Repository(
        "NVIDIA Source Code License for DoRA at the root, Apache-2.0 in commonsense_reasoning; no numbers recorded",
        "20bf5207f60cd86b461905497ae733356246fc66 (2026-03-24)",
    ),
    "https://github.com/ml-jku/EVA": Repository("MIT", "a5ac24bc04da5e6f50ee9de4e7ad5ee5ff4f438d (2024-10-14)"),
    "https://github.com/r-three/t-few": Repository("MIT", "114deced63ae722a368e06cb08ea956b20c393a6 (2023-09-06)"),
    "https://github.com/BaohaoLiao/road": Repository(
        "MIT; no code in it", "da400e54ad571c8e6c126ad1d1e70967ba6db44a (2024-08-28)"
    ),
    "https://github.com/BaohaoLiao/pyreft": Repository("Apache-2.0", "38dfe268df18bdc19a13fb1af6a7eb49431ac986"),
    "https://github.com/DaShenZi721/HRA": Repository(
        "none at the root; MIT for nlu, a file of its own for the ControlNet part",
        "8e0c6371e4928df6f69a56baae4ff90fb2619ccb (2025-12-17)",
    ),
    "https://github.com/ExplainableML/DeLoRA": Repository(
        "MIT", "82bfcb01e22e111ac0576def75db8e29a27f1851 (2025-12-12)"
    ),
    "https://github.com/GraphPKU/PiSSA": Repository(
        "no licence file", "87f4db6fc75a58b92c803cd9880c642bf011e69a (2025-02-02)"
    ),
    "https://github.com/wassname/AntiPaSTO": Repository("MIT", "85c09b77fea9b5e01f185718d776528a8d402d27 (2026-02-08)"),
    "https://github.com/wassname/antipasto3": Repository("not stated; not public in any stored snapshot"),
    "https://github.com/wassname/lora-lite": Repository(
        "no licence file", "19888fbb828782411bb866e4bb6b45a051412f99 (2026-05-01)"
    ),
}
PEFT = Repository("Apache-2.0; the authors' own script that calls it: no licence file")
UNKNOWN = Repository("not known")


def of(repo: str) -> Repository:
    """What is known of a repository; ``UNKNOWN`` where nothing is."""
    plain, _, note = repo.partition(" (")
    if note.startswith("called by "):  # peft's code, which the authors' script calls
        return PEFT
    return REPOSITORIES.get(plain.rstrip("/"), UNKNOWN)
