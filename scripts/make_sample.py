"""Make the sample corpus (JSON Lines) from the WordNet 3.0 data files.

    python scripts/make_sample.py DATA_DIR -o OUT

DATA_DIR holds data.{noun,verb,adj,adv}, index.{noun,verb,adj,adv} and
cntlist.rev, in the form described by the manual pages wndb(5WN) and
cntlist(5WN).  Each line of OUT is one synset:

    id        "wn:" + n, v, a or r (the data file) + the 8-digit offset there
    title     the lemmas, with spaces for underscores, set off by ", "
    text      the definition, then the usage examples, each quoted and set off
              by "; "
    pos       noun, verb, adjective or adverb
    category  the lexicographer file, such as noun.animal

Lines are in WordNet order: nouns, verbs, adjectives, adverbs, each by offset.
The same input gives the same bytes; nothing is drawn at random.

How the synsets are chosen
--------------------------

1. A synset is left out when its definition has fewer than 5 words, when its
   text is longer than 420 characters, when its gloss uses a word that marks
   offence (MARKS), when it or one of its words has a usage pointer to one of
   the concepts in BAD_USAGE, or when a lemma or the definition uses a word
   from UNSUITABLE (sex, slurs, dated words for peoples, cruelty).  Groups of living
   things (a lemma such as "genus Canis", see TAXON) are left out as well.
   From the synsets that stay, the usage examples that use a word from
   UNSUITABLE or EDGY (killing, drugs, remarks on peoples, faiths or women) are
   left out.
2. The score of a lemma in its synset is

       (ln(1 + tags) + ln(1 + glosses) / sense) / (1 + 0.25 * position)

   where tags is its count in the sense-tagged texts (cntlist.rev), glosses
   the number of WordNet glosses that use the lemma as it stands times the
   share of its part of speech in its tag counts (add-one smoothed), sense its
   sense number (index files) and position its place in the synset, from 0.
   The score of a synset is the best score of its lemmas, halved for a named
   individual (one with an instance pointer, such as a city or a writer).
   So everyday words in their leading senses come first.
3. Of the synsets with the same title the 2 best are kept, and of those with
   the same title in the same category the best one.
4. The 4,000 places are shared out over the lexicographer files in proportion
   to weight * sqrt(number of candidates), by largest remainder; a category
   never gets more than it has.  The weight is WEIGHTS[category] or 1: more for
   things one can see, touch or do, less for relational adjectives.
5. In a category with q places the best 60 % of q are taken from the top of the
   ranking, and the rest at even steps from the 2 * q that follow, so that less
   common words appear as well.  Ties in score are broken by offset.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOTAL: Final = 4000
MIN_WORDS: Final = 5
MAX_TEXT: Final = 420
PER_TITLE: Final = 2
TOP_SHARE: Final = 0.6
TAIL_SPAN: Final = 2
NAMED_FACTOR: Final = 0.5
LONGEST_LEMMA: Final = 3

# File suffix, letter in ids and name of each part of speech, in output order.
PARTS: Final = (
    ("noun", "n", "noun"),
    ("verb", "v", "verb"),
    ("adj", "a", "adjective"),
    ("adv", "r", "adverb"),
)

# The lexicographer files in the order of their numbers, from lexnames(5WN).
LEXNAMES: Final = (
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
)

WEIGHTS: Final = {
    "noun.animal": 1.6,
    "noun.artifact": 1.7,
    "noun.body": 1.3,
    "noun.event": 1.3,
    "noun.feeling": 1.3,
    "noun.food": 1.7,
    "noun.object": 1.5,
    "noun.person": 1.2,
    "noun.phenomenon": 1.3,
    "noun.plant": 1.2,
    "noun.substance": 1.2,
    "adj.pert": 0.4,
}

# Words by which a gloss marks its lemmas as offensive.
MARKS: Final = re.compile(
    r"\b(offensive(ly)?|slurs?|disparag\w+|derogat\w+|pejorative\w*|vulgar\w*"
    r"|obscen\w+|profan\w+|taboo|ethnic|insult\w*|contemptuous\w*|indecen\w+)\b",
    re.IGNORECASE,
)

# A usage pointer to a synset with one of these lemmas marks offence.
BAD_USAGE: Final = frozenset({"ethnic_slur", "disparagement", "obscenity"})

# Words in a lemma, definition or example that do not suit a sample for everyone.
UNSUITABLE: Final = re.compile(
    r"\b(sex\w*|erotic\w*|porn\w*|genital\w*|copulat\w+|intercourse|coitus|orgasm\w*"
    r"|penis|vagina\w*|vulva\w*|testic\w+|semen|scrotum|masturbat\w+|prostitut\w*"
    r"|brothel\w*|whores?|harlots?|sluts?|bitch\w*|bastards?|homosexual\w*|lesbian\w*"
    r"|rape[ds]?|rapists?|raping|incest\w*|molest\w*|pedophil\w*|nud(e|es|ity)"
    r"|negro\w*|nigger\w*|negroid\w*|caucasoid|mongoloid|squaw|savages?|oriental"
    r"|white race|black race|colored|dark-skinned|gyps(y|ies)|eskimos?|redskins?|heathens?"
    r"|slaves?|slavery|lynch\w*|genocid\w*|nazis?|holocaust|suicid\w+|tortur\w+"
    r"|retarded|cripple[ds]?|imbecil\w+|idiots?|morons?|arse|ass|butt|buttocks"
    r"|breasts?|nipples?|shit\w*|fuck\w*|damn\w*|crap|piss\w*|urinat\w+|urine|defecat\w+"
    r"|feces|excrement|faec\w+|racial\w*|aborigin\w+|white m[ae]n|mammy|midgets?|hitler\w*"
    r"|terrorists?|flog\w*|lapidate|promiscu\w+|out of wedlock|cocaine|heroin|disputed"
    r"|preliterate|murder\w*|bloodshed|killings?|killers?)\b",
    re.IGNORECASE,
)

# Words for which a usage example is left out.
EDGY: Final = re.compile(
    r"\b(kill\w*|murder\w*|corpses?|blood|bloody|terror\w*|abort\w*|abus\w+|drugs?|drunk\w*"
    r"|addict\w*|marijuana|rac(e question|es|ism|ist)|jew(s|ish)?|muslims?|islam\w*|arabs?"
    r"|iraqi|serbian|communis[tm]\w*|natives?|tribe\w*|savage\w*|wife|wives|wom[ae]n|girls?"
    r"|virgin|fat|ugly|stupid\w*|fools?|mad|cruel\w*|handicap\w*|wheelchair|expulsion)\b",
    re.IGNORECASE,
)

TAXON: Final = re.compile(
    r"^(genus|(sub|super)?(family|order|class|phylum|kingdom|division)|tribe)_[A-Z]"
)

WORD: Final = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*")
MARKER: Final = re.compile(r"\((?:a|p|ip)\)$")
EXAMPLES: Final = re.compile(r';\s*(?=")')
QUOTED: Final = re.compile(r'"([^"]+)"([^"]*)')


@dataclass(frozen=True)
class Lemma:
    """One word of a synset, as the data file spells it, and its lex_id."""

    word: str
    lex_id: int

    @property
    def key(self) -> str:
        """The word as the index files and sense keys spell it."""
        return self.word.lower()


@dataclass(frozen=True)
class Pointer:
    """A relation from a synset to the synset at offset in the file of pos."""

    symbol: str
    offset: str
    pos: str


@dataclass(frozen=True)
class Synset:
    """One line of a data file."""

    part: int
    offset: str
    category: int
    ss_type: str
    lemmas: tuple[Lemma, ...]
    pointers: tuple[Pointer, ...]
    definition: str
    examples: tuple[str, ...]

    @property
    def order(self) -> tuple[int, str]:
        """The place in WordNet order."""
        return self.part, self.offset

    @property
    def title(self) -> str:
        """The first lemma as it is read."""
        return self.lemmas[0].word.replace("_", " ")

    @property
    def text(self) -> str:
        """The definition and the examples that suit everyone."""
        examples = (
            example
            for example in self.examples
            if not (EDGY.search(example) or UNSUITABLE.search(example))
        )
        return "; ".join([self.definition, *examples])

    def record(self) -> dict[str, str]:
        """The line of the corpus."""
        _, letter, name = PARTS[self.part]
        return {
            "id": f"wn:{letter}{self.offset}",
            "title": ", ".join(lemma.word.replace("_", " ") for lemma in self.lemmas),
            "text": self.text,
            "pos": name,
            "category": LEXNAMES[self.category],
        }


def split_gloss(gloss: str) -> tuple[str, tuple[str, ...]]:
    """Split a gloss into its definition and its usage examples.

    The examples are what follows the first semicolon before a quotation mark;
    what stands between two of them (such as the name of an author) stays with
    the first.  A gloss with unpaired quotation marks counts as all definition.
    """
    gloss = " ".join(gloss.split())
    parts = EXAMPLES.split(gloss, maxsplit=1)
    if len(parts) == 1 or parts[1].count('"') % 2:
        return gloss.rstrip("; "), ()
    examples: list[str] = []
    for match in QUOTED.finditer(parts[1]):
        after = match[2].rstrip().rstrip(";,").rstrip()
        examples.append(f'"{match[1].strip()}"{after}')
    return parts[0].strip(" ;"), tuple(examples)


def parse_line(line: str, part: int) -> Synset:
    """Read one synset line of a data file."""
    head, _, gloss = line.partition("|")
    fields = iter(head.split())
    offset = next(fields)
    category = int(next(fields))
    ss_type = next(fields)
    lemmas = tuple(
        Lemma(MARKER.sub("", next(fields)), int(next(fields), 16))
        for _ in range(int(next(fields), 16))
    )
    pointers: list[Pointer] = []
    for _ in range(int(next(fields))):
        pointers.append(Pointer(next(fields), next(fields), next(fields)))
        next(fields)  # the words that the pointer joins
    definition, examples = split_gloss(gloss)
    return Synset(part, offset, category, ss_type, lemmas, tuple(pointers), definition, examples)


def data_lines(path: Path) -> Iterator[str]:
    """The lines of a data or index file without its licence header."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("  "):
                yield line.rstrip("\n")


def read_synsets(data_dir: Path) -> list[Synset]:
    """Read the four data files, in WordNet order."""
    return [
        parse_line(line, part)
        for part, (suffix, _, _) in enumerate(PARTS)
        for line in data_lines(data_dir / f"data.{suffix}")
    ]


def read_senses(data_dir: Path) -> dict[tuple[int, str, str], int]:
    """Read the sense number of each (part, lemma, offset) from the index files."""
    senses: dict[tuple[int, str, str], int] = {}
    for part, (suffix, _, _) in enumerate(PARTS):
        for line in data_lines(data_dir / f"index.{suffix}"):
            fields = line.split()
            count = int(fields[2])
            for number, offset in enumerate(fields[-count:], start=1):
                senses[part, fields[0], offset] = number
    return senses


def read_tags(data_dir: Path) -> dict[str, int]:
    """Read the tag count of each sense key from cntlist.rev."""
    tags: dict[str, int] = {}
    with (data_dir / "cntlist.rev").open(encoding="utf-8") as file:
        for line in file:
            key, _, count = line.split()
            tags[key] = int(count)
    return tags


def sense_key(synset: Synset, lemma: Lemma, heads: dict[str, Lemma]) -> str:
    """The sense key of a lemma, see senseidx(5WN).

    heads maps the offset of each head adjective to its first lemma.
    """
    number = {"n": 1, "v": 2, "a": 3, "r": 4, "s": 5}[synset.ss_type]
    head = ":"
    if synset.ss_type == "s":
        for pointer in synset.pointers:
            if pointer.symbol == "&":
                first = heads[pointer.offset]
                head = f"{first.key}:{first.lex_id:02d}"
                break
    return f"{lemma.key}%{number}:{synset.category:02d}:{lemma.lex_id:02d}:{head}"


def gloss_counts(synsets: Iterable[Synset]) -> Counter[str]:
    """Count the glosses that use each run of up to three words, joined by "_"."""
    counts: Counter[str] = Counter()
    for synset in synsets:
        words = WORD.findall(" ".join((synset.definition, *synset.examples)).lower())
        counts.update(
            {
                "_".join(words[start : start + length])
                for length in range(1, LONGEST_LEMMA + 1)
                for start in range(len(words) - length + 1)
            }
        )
    return counts


def score_synsets(synsets: Sequence[Synset], data_dir: Path) -> dict[tuple[int, str], float]:
    """The score of each synset, by its place in WordNet order."""
    senses = read_senses(data_dir)
    tags = read_tags(data_dir)
    glosses = gloss_counts(synsets)
    heads = {synset.offset: synset.lemmas[0] for synset in synsets if synset.ss_type == "a"}
    counts: dict[tuple[int, str, str], int] = {}
    part_counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for synset in synsets:
        for lemma in synset.lemmas:
            count = tags.get(sense_key(synset, lemma, heads), 0)
            counts[synset.part, lemma.key, synset.offset] = count
            part_counts[lemma.key][synset.part] += count
    scores: dict[tuple[int, str], float] = {}
    for synset in synsets:
        best = 0.0
        for position, lemma in enumerate(synset.lemmas):
            place = synset.part, lemma.key, synset.offset
            parts = part_counts[lemma.key]
            share = (1 + parts[synset.part]) / (len(parts) + parts.total())
            tagged = math.log1p(counts[place])
            used = math.log1p(glosses[lemma.key] * share)
            sense = senses[place]
            best = max(best, (tagged + used / sense) / (1 + 0.25 * position))
        if any(pointer.symbol == "@i" for pointer in synset.pointers):
            best *= NAMED_FACTOR
        scores[synset.order] = best
    return scores


def bad_usage_offsets(synsets: Iterable[Synset]) -> frozenset[str]:
    """The offsets of the nouns that name an offensive usage."""
    return frozenset(
        synset.offset
        for synset in synsets
        if synset.ss_type == "n" and any(lemma.key in BAD_USAGE for lemma in synset.lemmas)
    )


def suitable(synset: Synset, bad_usage: frozenset[str]) -> bool:
    """Whether a synset passes the first rule of the module's docstring."""
    text = synset.text
    whole = " ".join((text, *synset.examples))
    return (
        len(synset.definition.split()) >= MIN_WORDS
        and len(text) <= MAX_TEXT
        and not MARKS.search(whole)
        and not UNSUITABLE.search(text)
        and not any(TAXON.search(lemma.word) for lemma in synset.lemmas)
        and not any(
            pointer.symbol == ";u" and pointer.pos == "n" and pointer.offset in bad_usage
            for pointer in synset.pointers
        )
    )


def share_out(sizes: dict[int, int], total: int) -> dict[int, int]:
    """Share total places over categories of the given sizes.

    The shares follow weight * sqrt(size), none above its size; what a full
    category cannot take goes to the others.
    """
    if sum(sizes.values()) < total:
        raise ValueError(f"only {sum(sizes.values())} candidates for {total} places")
    weights = {
        category: WEIGHTS.get(LEXNAMES[category], 1.0) * math.sqrt(size)
        for category, size in sizes.items()
    }
    quotas: dict[int, int] = {}
    open_categories = sorted(sizes)
    while True:
        left = total - sum(quotas.values())
        scale = left / sum(weights[category] for category in open_categories)
        full = [c for c in open_categories if weights[c] * scale >= sizes[c]]
        if not full:
            break
        quotas.update({category: sizes[category] for category in full})
        open_categories = [c for c in open_categories if c not in full]
        if not open_categories:
            return quotas
    exact = {category: weights[category] * scale for category in open_categories}
    quotas.update({category: int(share) for category, share in exact.items()})
    missing = total - sum(quotas.values())
    by_remainder = sorted(open_categories, key=lambda c: (int(exact[c]) - exact[c], c))
    for category in by_remainder[:missing]:
        quotas[category] += 1
    return quotas


def pick(ranked: Sequence[Synset], quota: int) -> list[Synset]:
    """Take quota synsets: the top of the ranking, then even steps through the next."""
    top = math.ceil(quota * TOP_SHARE)
    rest = quota - top
    tail = ranked[top : top + max(rest, TAIL_SPAN * quota)]
    return [*ranked[:top], *(tail[step * len(tail) // rest] for step in range(rest))]


def choose(synsets: Sequence[Synset], scores: dict[tuple[int, str], float]) -> list[Synset]:
    """Choose the synsets of the sample, in WordNet order."""
    bad_usage = bad_usage_offsets(synsets)
    ranked = sorted(
        (synset for synset in synsets if suitable(synset, bad_usage)),
        key=lambda synset: (-scores[synset.order], synset.order),
    )
    categories: defaultdict[int, list[Synset]] = defaultdict(list)
    seen: Counter[str] = Counter()
    seen_here: set[tuple[int, str]] = set()
    for synset in ranked:
        title = synset.title.lower()
        if seen[title] < PER_TITLE and (synset.category, title) not in seen_here:
            seen[title] += 1
            seen_here.add((synset.category, title))
            categories[synset.category].append(synset)
    quotas = share_out({c: len(members) for c, members in categories.items()}, TOTAL)
    chosen = [synset for c, quota in quotas.items() for synset in pick(categories[c], quota)]
    return sorted(chosen, key=lambda synset: synset.order)


def write_lines(path: Path, synsets: Iterable[Synset]) -> None:
    """Write the corpus, one synset a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for synset in synsets:
            file.write(json.dumps(synset.record(), ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Make the sample corpus from the WordNet 3.0 data files."
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", type=Path, help="the WordNet data files")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True)
    options = parser.parse_args(arguments)
    data_dir: Path = options.data_dir
    output: Path = options.output
    try:
        synsets = read_synsets(data_dir)
        write_lines(output, choose(synsets, score_synsets(synsets, data_dir)))
    except OSError as error:
        print(f"make_sample.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
