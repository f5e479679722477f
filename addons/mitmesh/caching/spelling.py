"""British spelling as American, for words where nothing but the spelling differs."""

# ruff: noqa: E501  tables of words and patterns, not prose
from __future__ import annotations

_OUR = "armour behaviour colour endeavour favour flavour glamour harbour honour humour neighbour odour rumour savour vigour"
_ISE = """apolog author organ recogn real util optim minim maxim summar normal general categor custom
initial serial synchron token visual emphas prior standard final critic memor modern neutral popular special stabil symbol
local capital central character commercial crystal digit emphas equal fertil formal global harmon hospital ideal immun
italic legal liberal material mechan mobil monet national parallel penal personal polar privat rational revolution sanit
sensit social steril subsid sympath termin vapor victim virtual"""
_PLAIN = {
    "analyse": "analyze", "analysed": "analyzed", "analysing": "analyzing", "catalogue": "catalog", "centre": "center",
    "centres": "centers", "litre": "liter", "litres": "liters", "theatre": "theater", "fibre": "fiber",
    "offence": "offense", "cancelled": "canceled", "cancelling": "canceling",
    "modelling": "modeling", "modelled": "modeled", "labelled": "labeled", "labelling": "labeling", "travelling": "traveling",
    "travelled": "traveled", "traveller": "traveler", "amongst": "among", "whilst": "while", "learnt": "learned",
    "spelt": "spelled", "jewellery": "jewelry", "aluminium": "aluminum", "aeroplane": "airplane",
    "artefact": "artifact", "artefacts": "artifacts", "paediatric": "pediatric", "anaemia": "anemia",
}  # fmt: skip
"""Not here: analyses (a noun as well), cheque, metre, practise, storey, tyre, programme: two words in one spelling;
nor defence, grey, labour, licence: one spelling each in the names of people, parties, days, offices and laws."""


def _words() -> dict[str, str]:
    found = dict(_PLAIN)
    for word in _OUR.split():
        for end in ("", "s", "ed", "ing", "able", "ful", "ite", "hood", "al"):
            found[word + end] = word[:-2] + "r" + end
    for root in _ISE.split():
        if root.isalpha():
            for end in ("e", "es", "ed", "er", "ers", "ing", "ation", "ations"):
                found[f"{root}is{end}"] = f"{root}iz{end}"
    return found


AMERICAN = _words()


def american(word: str) -> str:
    """The word in American spelling, its capitals kept; as it is where it has capitals inside or is not known."""
    known = AMERICAN.get(word.lower())
    if known is None:
        return word
    if word.islower():
        return known
    return known.capitalize() if word == word.capitalize() else word
