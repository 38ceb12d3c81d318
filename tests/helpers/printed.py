"""What README, guide and how-tos print: their fenced blocks, and the commands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "recipes/README.md",
    "recipes/benchmarks/README.md",
    ".github/CONTRIBUTING.md",
    *sorted(
        str(page.relative_to(ROOT))
        for page in (ROOT / "recipes" / "docs").rglob("*.md")
        if "generated" not in page.parts and "notebooks" not in page.parts
    ),
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: The file that prints it.
        language: What follows the fence; empty for commands.
        body: Its text.
    """

    page: str
    language: str
    body: str

    @property
    def commands(self) -> list[str]:
        """Its command lines, each as it is pasted: continued lines are one, comments go with them."""
        return [line for line in self.body.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(*languages: str) -> list[Block]:
    """Every block of these languages, each text once a page."""
    found: list[Block] = []
    for page in PAGES:
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        language, body = None, []
        for line in lines:
            if not line.startswith("```"):
                body.append(line)
            elif language is None:
                language, body = line[3:].strip(), []
            else:
                found.append(Block(page, language, "\n".join(body)))
                language = None
        assert language is None, f"{page}: a block isn't closed"
    return [block for block in dict.fromkeys(found) if block.language in languages]


def languages() -> set[str]:
    """The languages of all blocks, without Sphinx's directives."""
    everything = re.findall(r"^```(\w*)$", "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES), re.M)
    return set(everything)
