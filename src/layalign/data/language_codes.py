"""The language codes of multilingual encoders' tokenizers, by BCP-47 tag."""

import textwrap
from collections.abc import Mapping
from functools import lru_cache

from babel.core import get_global

from layalign.data.languages import UNKNOWN_LANGUAGE, check_language
from layalign.errors import ConfigError, DataError, nearest

# As in the tokenizers themselves, a row for each script.
_NLLB = {
    "Latn": (
        "ace afr aka als ast ayr azj bam ban bem bjn bos bug cat ceb ces cjk crh cym dan deu dik "
        "dyu eng epo est eus ewe fao fij fin fon fra fur fuv gaz gla gle glg grn hat hau hrv hun "
        "ibo ilo ind isl ita jav kab kac kam kbp kea kik kin kmb kmr knc kon lij lim lin lit lmo "
        "ltg ltz lua lug luo lus lvs min mlt mos mri nld nno nob nso nus nya oci pag pap plt pol "
        "por quy ron run sag scn slk slv smo sna som sot spa srd ssw sun swe swh szl taq tgl tpi "
        "tsn tso tuk tum tur twi umb uzn vec vie war wol xho yor zsm zul"
    ),
    "Arab": ("ace acm acq aeb ajp apc arb ars ary arz azb bjn ckb kas knc pbt pes prs snd uig urd"),
    "Cyrl": "bak bel bul kaz khk kir mkd rus srp tat tgk ukr",
    "Deva": "awa bho hin hne kas mag mai mar npi san",
    "Beng": "asm ben mni sat",
    "Ethi": "amh tir",
    "Hebr": "heb ydd",
    "Mymr": "mya shn",
    "Tibt": "bod dzo",
    "Tfng": "taq tzm",
    "Hant": "yue zho",
    **{"Armn": "hye", "Geor": "kat", "Grek": "ell", "Gujr": "guj", "Guru": "pan", "Hang": "kor"},
    **{"Hans": "zho", "Jpan": "jpn", "Khmr": "khm", "Knda": "kan", "Laoo": "lao", "Mlym": "mal"},
    **{"Orya": "ory", "Sinh": "sin", "Taml": "tam", "Telu": "tel", "Thai": "tha"},
}
_MBART50 = (
    "af_ZA ar_AR az_AZ bn_IN cs_CZ de_DE en_XX es_XX et_EE fa_IR fi_FI fr_XX gl_ES gu_IN he_IL "
    "hi_IN hr_HR id_ID it_IT ja_XX ka_GE kk_KZ km_KH ko_KR lt_LT lv_LV mk_MK ml_IN mn_MN mr_IN "
    "my_MM ne_NP nl_XX pl_PL ps_AF pt_XX ro_RO ru_RU si_LK sl_SI sv_SE sw_KE ta_IN te_IN th_TH "
    "tl_XX tr_TR uk_UA ur_PK vi_VN xh_ZA zh_CN"
)
_M2M100 = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu "
    "ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr "
    "ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk "
    "ur uz vi wo xh yi yo zh zu"
)

# What the register cannot say: the one dialect of a language that the tokenizer has, old codes.
_EXTRA = {
    "nllb": {"ff": "fuv_Latn", "no": "nob_Latn", "ps": "pbt_Arab", "qu": "quy_Latn"},
    "mbart50": {},
    "m2m100": {"nb": "no", "nso": "ns"},
}

TABLES = tuple(_EXTRA)
"""Names of the tables."""


def language_codes(name: str | Mapping[str, str]) -> dict[str, str]:
    """The codes that a kind of encoder tokenizer has, by BCP-47 tag.

    A language without a script is that in its usual one, or the only one that there is: for NLLB
    ``"zh"`` and ``"zh-Hans"`` are ``zho_Hans``, ``"zh-Hant"`` is ``zho_Hant``. Languages that
    :func:`check_language` does not know are left out.

    Args:
        name: ``"nllb"``, ``"mbart50"`` or ``"m2m100"``; or a mapping, which is copied.

    Raises:
        ConfigError: There is no table of that name.
    """
    if isinstance(name, Mapping):
        return dict(name)
    if name not in TABLES:
        raise ConfigError(
            f"unknown table of language codes {name!r}; expected one of {', '.join(TABLES)}, or a "
            f"mapping from BCP-47 tags to codes{nearest(str(name), TABLES)}"
        )
    return dict(_table(name))


def source_code(codes: Mapping[str, str], language: str | None) -> str:
    """The code of a text's language, for an encoder's tokenizer.

    Args:
        codes: By BCP-47 tag.
        language: Of the text; None if it is not stated.

    Raises:
        DataError: It is not stated, or has no code.
    """
    if language is None or language == UNKNOWN_LANGUAGE:
        raise DataError(
            "the encoder's tokenizer has to be told the language of a text; state it as a BCP-47 "
            "tag such as sw"
        )
    if language not in codes:
        known = textwrap.shorten(", ".join(sorted(codes)), 200, placeholder=" …")
        raise DataError(
            f"language {language!r} has no code for the encoder's tokenizer; expected one of "
            f"{known}; extend language_codes"
        )
    return codes[language]


@lru_cache(maxsize=len(TABLES))
def _table(name: str) -> Mapping[str, str]:
    table: dict[str, str] = {}
    for code in _codes(name):
        # The regions of mBART's codes are not the language's: en_XX.
        tag = code.split("_")[0] if name == "mbart50" else code
        try:
            tag = check_language(tag)
        except DataError:
            continue
        table.setdefault(tag, code)
        table.setdefault(_without_usual_script(tag), code)
    for tag, code in list(table.items()):
        table.setdefault(tag.split("-")[0], code)
    return {**table, **_EXTRA[name]}


def _codes(name: str) -> list[str]:
    if name == "nllb":
        return [f"{code}_{script}" for script, codes in _NLLB.items() for code in codes.split()]
    return (_MBART50 if name == "mbart50" else _M2M100).split()


def _without_usual_script(tag: str) -> str:
    language, *details = tag.split("-")
    usual = str(get_global("likely_subtags").get(language, language)).split("_")
    return "-".join((language, *(detail for detail in details if detail not in usual[1:2])))
