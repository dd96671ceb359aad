"""Reads an Incident Report: the shipped form first, any other form by the wording of its headings.

Nothing is guessed.  What cannot be understood stays unanswered and is named in `Report.doubts`, in words the reporter
can act on.  A severity is an exact match with a short list of names: no look-alike, no folding (M11-M13).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from importlib.resources import files
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil import parser as dates

from app.core.policy import Policy
from app.core.report import Exposure, Kind, Level, Report, Source
from app.core.severity import Scale, Severity
from app.github.issue_form import Answer, Form, blocks, fits, parse_body, read_form
from app.text import cleaned, visible

LOOKED_AT = 200  # characters of a choice or a time that are looked at
_SLACK = timedelta(minutes=5)
_T = TypeVar("_T")

# --- wording

_HEADINGS: dict[str, str] = {
    "summary": "summary|incident summary|short description|short summary|title|executive summary"
    "|zusammenfassung|kurzbeschreibung|résumé|resumen|resumo|riassunto|samenvatting|podsumowanie|概要|摘要",
    "severity": "severity|severity level|sev|sev level|incident severity|incident severity level|severity sev|schweregrad"
    "|schwere|sévérité|gravité|niveau de gravité|severidad|gravedad|severidade|gravidade|gravità|ernst|ernstgraad"
    "|ważność|dotkliwość|stopień krytyczności|重大度|深刻度|重要度|严重程度|严重级别|严重性|嚴重程度",
    "priority": "priority|priority level|incident priority|incident priority level|priorität|priorité|prioridad"
    "|prioridade|priorità|prioriteit|priorytet|優先度|优先级|優先級",
    "impact": "impact|impact level|business impact|user impact|customer impact|user & system impact|user and system impact"
    "|audience / business impact|scope of impact|auswirkung|auswirkungen|impact estimé|impacts|impacto|impatto|wpływ"
    "|影響|影響度|影响",
    "urgency": "urgency|urgency level|dringlichkeit|urgence|urgencia|urgência|urgenza|urgentie|pilność|緊急度|紧急程度|紧急度",
    "type": "type|incident type|type of incident|category|incident category|art|typ|vorfallstyp|art des vorfalls|kategorie"
    "|type d'incident|catégorie|tipo|tipo de incidente|categoría|categoria|tipo di incidente|soort incident|rodzaj"
    "|種別|種類|障害種別|类型|事件类型",
    "services": "services affected|affected services|affected service|service|services|systems involved|affected systems"
    "|affected system|affected components|affected component|component|components|affected products|impacted services"
    "|impacted systems|systems affected|betroffene dienste|betroffener dienst|betroffene systeme|dienst|service affecté"
    "|services affectés|services touchés|servicio afectado|servicios afectados|serviço afetado|serviços afetados"
    "|servizi interessati|getroffen diensten|dotknięte usługi|影響サービス|対象サービス|受影响的服务|受影响服务",
    "detection": "how was it detected|how was this detected|how was the incident detected|detection|detection method"
    "|detection source|detected by|how detected|wie wurde es entdeckt|erkennung|entdeckt durch|détection|comment détecté"
    "|detección|cómo se detectó|detecção|como foi detectado|rilevamento|hoe ontdekt|sposób wykrycia|検知方法|检测方式|发现方式",
    "started_at": "when did it start|started at|start time|started|time of incident|incident start|incident start time"
    "|date of the incident|date and time of incident|incident date|time started|beginn|beginn der störung|wann begann es"
    "|startzeit|heure de début|début|début de l'incident|inicio|hora de inicio|início|início observado|hora de início"
    "|inizio|ora di inizio|starttijd|begintijd|początek|czas rozpoczęcia|発生時刻|発生日時|開始時刻|开始时间|发生时间",
    "detected_at": "when was it detected|detected at|detection time|time of detection|date and time of detection"
    "|time detected|discovered at|erkannt um|entdeckt um|zeitpunkt der erkennung|heure de détection|détecté à"
    "|hora de detección|hora da detecção|detectado em|ora di rilevamento|tijd van ontdekking|czas wykrycia|検知時刻"
    "|検知日時|检测时间|发现时间",
    "symptoms": "symptoms|symptom|what happened|what is happening|description|incident description|description of incident"
    "|describe the incident|details|observed behavior|observed behaviour|symptome|beschreibung|was ist passiert"
    "|symptômes|constat|que s'est-il passé|síntomas|qué pasó|descripción|sintomas|descrição|o que aconteceu|sintomi"
    "|descrizione|symptomen|wat is er gebeurd|objawy|opis|症状|事象|現象|何が起きたか|现象|故障现象|描述",
    "affected": "users and business functions affected|users affected|affected users|who is affected|customers affected"
    "|business functions affected|betroffene nutzer|wer ist betroffen|utilisateurs affectés|usuarios afectados"
    "|usuários afetados|utenti interessati|getroffen gebruikers|影響範囲|影响范围|受影响用户",
    "revenue": "revenue impact|revenue|financial impact|umsatz|umsatzausfall|impact financier|impacto en ingresos"
    "|impacto na receita|impacto financeiro|impatto economico|売上への影響|收入影响",
    "workaround": "workaround|workarounds|temporary fix|mitigation / immediate workaround|immediate workaround|umgehung"
    "|umgehungslösung|behelfslösung|contournement|solution de contournement|solución temporal|solução de contorno"
    "|soluzione temporanea|tijdelijke oplossing|obejście|回避策|暫定対応|临时解决方案|变通方法",
    "personal_data": "may personal data be exposed|personal data|personal data exposed|is personal data affected|gdpr"
    "|data privacy|personenbezogene daten|dsgvo|volet rgpd|rgpd|données personnelles|datos personales|dados pessoais"
    "|lgpd|dati personali|persoonsgegevens|avg|dane osobowe|rodo|個人情報|个人信息|个人数据",
}
_MEANING = {words: meaning for meaning, row in _HEADINGS.items() for words in row.split("|")}
_INSIDE = (
    "severity",
    "schweregrad",
    "gravité",
    "sévérité",
    "urgency",
    "workaround",
)  # also as one word of a longer heading
_FIELDS = {"kind": "type", "source": "detection"}  # a policy may use the names of `Report` too
_DAY_FIRST_WORDS = frozenset(_HEADINGS["started_at"].split("|")[11:] + _HEADINGS["detected_at"].split("|")[7:])

_SEVERITY_WORDS = {
    Severity.SEV1: "critical|kritisch|critique|crítico|crítica|critico|critica|krytyczny|krytyczna|kritiek|致命的|严重|紧急|緊急",
    Severity.SEV2: "high|hoch|élevé|élevée|haut|haute|alto|alta|wysoki|wysoka|hoog|高|高い",
    Severity.SEV3: "medium|moderate|mittel|moyen|moyenne|modéré|modérée|medio|media|médio|média|moderado|moderada"
    "|średni|średnia|gemiddeld|中|中程度|中等",
    Severity.SEV4: "low|niedrig|gering|faible|bas|basse|bajo|baja|baixo|baixa|basso|bassa|niski|niska|laag|低|低い",
}
_LEVELS = {Level.HIGH: Severity.SEV2, Level.MEDIUM: Severity.SEV3, Level.LOW: Severity.SEV4}
_UNSURE = [
    "not sure",
    "not sure yet",
    "unsure",
    "unknown",
    "not known",
    "not known yet",
    "don't know",
    "i don't know",
    "tbd",
    "?",
    "n/a",
    "na",
    "none",
    "-",
    "unbekannt",
    "weiß nicht",
    "nicht sicher",
    "inconnu",
    "inconnue",
    "je ne sais pas",
    "pas sûr",
    "desconocido",
    "no sé",
    "no lo sé",
    "não sei",
    "desconhecido",
    "non so",
    "sconosciuto",
    "weet niet",
    "onbekend",
    "nie wiem",
    "nieznany",
    "不明",
    "わからない",
    "不确定",
    "未知",
    "不清楚",
]
_KINDS = {
    # The first row with a word in the answer wins: what harms most stands first.
    Kind.PRIVACY: "privacy|personal data|gdpr|rgpd|datenschutz|vie privée|privacidad|privacidade|個人情報|隐私",
    Kind.SECURITY: "security|breach|malware|unauthorized|unauthorised|ddos|social engineering|insider|phishing|ransomware"
    "|vulnerability|sicherheit|sécurité|seguridad|segurança|sicurezza|beveiliging|bezpieczeń|セキュリティ|安全",
    Kind.DATA_LOSS: "data loss|data corruption|loss or corruption|corrupt|datenverlust|perte de données|pérdida de datos"
    "|perda de dados|perdita di dati|gegevensverlies|utrata danych|データ損失|データ消失|数据丢失",
    Kind.DEGRADATION: "performance|degradation|degraded|slow|latency|leistung|dégradation|rendimiento|degradación|desempenho"
    "|degradação|prestazioni|prestatie|wydajno|性能",
    Kind.INTEGRATION: "integration|third party|third-party|api failure|schnittstelle|intégration|integración|integração"
    "|integrazione|integratie|integracj|連携|集成",
    Kind.OUTAGE: "outage|down|unavailable|availability|infrastructure|ausfall|nicht verfügbar|panne|indisponib|caída"
    "|interrupción|fora do ar|interruzione|storing|awaria|停止|障害|中断|宕机",
}
_SOURCES = {
    Source.SECURITY: "security monitoring|siem|intrusion|ids alert|security team|sicherheitsüberwachung",
    Source.HEALTH_CHECK: "health check|healthcheck|synthetic|uptime check",
    Source.SUPPORT: "support|help desk|helpdesk|service desk|ticket",
    Source.THIRD_PARTY: "third-party|third party|vendor|supplier|provider|partner|lieferant|fournisseur|proveedor|fornecedor",
    Source.ROUTINE: "routine|scheduled check|audit|manual check",
    Source.MONITORING: "monitoring|alert|alarm|pagerduty|grafana|datadog|prometheus|überwachung|surveillance|alerte"
    "|monitorización|alerta|monitoramento|monitoraggio|監視|アラート|监控|告警",
    Source.USER: "user|customer|client|kunde|nutzer|utilisateur|usuario|usuário|cliente|utente|gebruiker|klant|użytkownik"
    "|ユーザー|顧客|用户|客户",
    Source.INTERNAL: "internal|engineer|developer|employee|staff|intern|interne|interno|社内|内部",
}
_EXPOSED = {
    Exposure.POSSIBLY: "possibly|possible|maybe|potential|perhaps|may be|might|not sure|unsure|unknown|suspected|möglich"
    "|vielleicht|unklar|potentiel|peut-être|possible|posible|quizás|talvez|possível|forse|misschien|może|不明|可能",
    Exposure.NO: "no|nein|non|não|nee|nie|none|いいえ|なし|无|否|没有",
    Exposure.YES: "yes|confirmed|ja|oui|sí|si|sim|sì|tak|はい|あり|是|有",
}


# --- the report


@cache
def shipped_form() -> Form:
    """The Incident Report form that comes with Muster."""
    return read_form(files("app.github").joinpath("data/incident-report.yml").read_text("utf-8"))


def read_report(body: str, *, title: str, opened_at: datetime, policy: Policy) -> Report:
    """What the body of a new issue says.  `opened_at` is aware: words such as "just now" and the future count from it."""
    body, title = cleaned(body), _bare(cleaned(title))
    reading = _Reading(_answers(body, policy), opened_at, policy)
    if not reading.answers:
        paragraph = next((part.strip() for part in body.replace("\r\n", "\n").split("\n\n") if part.strip()), "")
        return Report(summary=title or _first_line(paragraph), symptoms=body.strip(), structured=False)
    report = reading.report()
    return report if report.summary else replace(report, summary=title)


@dataclass(frozen=True, slots=True)
class _Given:
    """One answer under one heading."""

    heading: str
    value: Answer

    @property
    def text(self) -> str:
        if isinstance(self.value, str):
            return self.value
        return ", ".join(self.items)

    @property
    def items(self) -> list[str]:
        """What was chosen: the parts of a multiple choice, the ticked boxes."""
        if isinstance(self.value, str):
            return _ticked(self.value)
        return [
            part if isinstance(part, str) else str(part["label"])
            for part in self.value or []
            if isinstance(part, str) or part["checked"]
        ]


def _answers(body: str, policy: Policy) -> dict[str, list[_Given]]:
    """The answers by what is asked; an empty answer leaves an empty list, a heading nobody knows leaves nothing."""
    form = shipped_form()
    found: dict[str, list[_Given]] = {}
    if fits(form, body):
        answers = parse_body(form, body)
        for key, asked in zip(form.keys(), form.fields, strict=True):
            found[key] = [_Given(asked.label, answers[key])] if answers[key] is not None else []
        return found
    wanted = {
        " ".join(words.casefold().split()): _FIELDS.get(name, name) for words, name in policy.intake.fields.items()
    }
    for block in blocks(body, lambda words: _meaning(words, wanted) is not None):
        meaning = _meaning(block.heading, wanted)
        if meaning is not None:
            value = _without_comments(block.text)
            found.setdefault(meaning, []).extend([_Given(block.heading, value)] if _is_answer(value) else [])
    return found


def _meaning(heading: str, wanted: Mapping[str, str]) -> str | None:
    whole = " ".join(heading.casefold().split())
    if whole in wanted:
        return wanted[whole]
    whole = whole.strip(" :：?？*_#.!`")
    if whole in wanted:
        return wanted[whole]
    before, opened, inside = whole.partition("(")
    shown = whole if not opened else before
    candidates = [whole, before, inside.rstrip(") "), *shown.split("/"), *whole.split("（")]
    for words in candidates:
        meaning = _MEANING.get(re.sub(r"^[^\w]+|[^\w]+$", "", words)) or _MEANING.get(words.strip())
        if meaning:
            return meaning
    words_inside = set(re.split(r"\W+", whole[:LOOKED_AT]))
    return next((_MEANING[word] for word in _INSIDE if word in words_inside), None)


class _Reading:
    """One pass over the answers, collecting doubts."""

    def __init__(self, answers: dict[str, list[_Given]], opened_at: datetime, policy: Policy) -> None:
        self.answers = answers
        self.opened_at = opened_at.astimezone(UTC)
        self.policy = policy
        self.doubts: list[str] = []

    def report(self) -> Report:
        severity = self.severity()
        impact = self.level("impact")
        spread = self.text("affected")
        if impact is None and len(self.text("impact")) > 0:
            spread = "\n\n".join(part for part in (spread, self.text("impact")) if part)
        return Report(
            summary=_first_line(self.text("summary")),
            severity=severity,
            impact=impact,
            urgency=self.level("urgency"),
            kind=self.worded("type", "Type", _KINDS),
            services=self.services(),
            source=self.worded("detection", "Detection", _SOURCES),
            started_at=self.time("started_at", "Started"),
            detected_at=self.time("detected_at", "Detected"),
            symptoms=self.text("symptoms"),
            affected=spread,
            revenue=self.text("revenue"),
            workaround=self.text("workaround"),
            personal_data=self.exposure(),
            doubts=tuple(self.doubts),
        )

    def text(self, name: str) -> str:
        return "\n\n".join(given.text for given in self.answers.get(name, []))

    def choice(self, name: str) -> str:
        """The beginning of a single choice, stripped of ASCII space and line ends only."""
        given = self.answers.get(name) or []
        return _chosen(given[0]) if given else ""

    def severity(self) -> Severity | None:
        """From the severity, or the priority where a form asks for that instead."""
        name = "severity" if self.answers.get("severity") else "priority"
        given = self.answers.get(name) or []
        title = name.capitalize()
        texts = list(dict.fromkeys(_chosen(one) for one in given))
        if len(texts) > 1 and len({_grade(text, self.policy.scale) for text in texts}) > 1:
            shown = " and ".join(f"'{visible(text)}'" for text in texts[:3])
            self.doubts.append(f"{title} is answered more than once, with {shown}. Which one is right?")
            return None
        if not texts or _unsure(texts[0]):
            return None
        grade = _grade(texts[0], self.policy.scale)
        if grade is None:
            self.doubts.append(_severity_doubt(title, texts[0], self.policy.scale))
        return grade

    def level(self, name: str) -> Level | None:
        """High, medium or low.  Many forms ask for the impact in free words: those are a description, not a doubt."""
        text = self.choice(name)
        if not text or _unsure(text):
            return None
        for level, severity in _LEVELS.items():
            letter = level.value[0]
            if _begins(text, (*_SEVERITY_WORDS[severity].split("|"), letter)):
                return level
        if _begins(text, _SEVERITY_WORDS[Severity.SEV1].split("|")):
            return Level.HIGH
        if name != "impact":
            self.doubts.append(f"{name.capitalize()}: '{visible(text)}' is not one of High, Medium or Low")
        return None

    def worded(self, name: str, title: str, rows: Mapping[_T, str]) -> _T | None:
        text = self.choice(name)
        if not text or _unsure(text):
            return None
        lower = text.lower()
        for meaning in rows:
            if lower == getattr(meaning, "value", None):
                return meaning
        for meaning, row in rows.items():
            if any(_has(lower, word) for word in row.split("|")):
                return meaning
        if not lower.startswith(("other", "andere", "autre", "otro", "outro", "altro", "その他", "其他")):
            known = ", ".join(str(getattr(meaning, "value", meaning)) for meaning in rows)
            self.doubts.append(f"{title}: '{visible(text)}' is not one of {known}")
        return None

    def services(self) -> tuple[str, ...]:
        names: list[str] = []
        for given in self.answers.get("services", []):
            if isinstance(given.value, str) and not given.items:
                lines = (re.sub(r"^(?:[-*+]|[0-9]{1,3}[.)]) +", "", line.strip()) for line in given.text.split("\n"))
                names.extend(name for line in lines for name in re.split(r"[,;、，]", line))
            else:
                names.extend(given.items)
        kept = (name.strip(" \t`*.") for name in names)
        return tuple(dict.fromkeys(name[:100] for name in kept if name and not _unsure(name)))[:50]

    def exposure(self) -> Exposure | None:
        text = self.choice("personal_data").lower()
        if not text:
            return None
        for meaning, row in _EXPOSED.items():
            if any(_has(text, word) for word in row.split("|")):
                return meaning
        if isinstance(self.answers["personal_data"][0].value, list) or self.answers["personal_data"][0].items:
            return Exposure.YES  # a ticked box
        self.doubts.append(f"Personal data: '{visible(text)}' is not one of No, Possibly or Yes")
        return None

    def time(self, name: str, title: str) -> datetime | None:
        given = self.answers.get(name) or []
        text = _first_line(given[0].text)[:LOOKED_AT].strip() if given else ""
        if not text or _unsure(text.strip(" .")):
            return None
        asked = given[0].heading.casefold().strip(" :?")
        try:
            at = _Clock(self.opened_at, self.policy.zone, day_first=asked in _DAY_FIRST_WORDS).read(text)
        except _NotATime as fault:
            self.doubts.append(f"{title}: '{visible(text)}' {fault}")
            return None
        if at > self.opened_at + _SLACK:
            self.doubts.append(
                f"{title}: '{visible(text)}' is in the future ({at:%Y-%m-%d %H:%M} UTC). Is the time zone right?"
            )
            return None
        return at


# --- choices


def _chosen(given: _Given) -> str:
    return (", ".join(given.items) if given.items else given.text)[:LOOKED_AT].strip(" \r\n")


def _begins(text: str, words: Iterable[str]) -> bool:
    """Whether the text is one of the words, or one of them and then a remark: `High — all users`, `P1 (critical)`."""
    return any(_matches(text, word) for word in words)


def _matches(text: str, word: str) -> bool:
    head, rest = text[: len(word)], text[len(word) :]
    if not (head in (word, word.capitalize(), word.upper()) or (head.isascii() and head.lower() == word)):
        return False
    return _may_follow(rest)


def _may_follow(rest: str) -> bool:
    return not rest or rest.removeprefix(" ")[:1] in tuple("—–-:(：（")


def _grade(text: str, scale: Scale) -> Severity | None:
    for size in range(min(len(text), 12), 0, -1):
        name = text[:size]
        severity = scale.read(name) or (Scale.SEV.read(name) if name.lower().startswith("sev") else None)
        if severity is not None:
            return severity if _may_follow(text[size:]) and not _other_grades(text[size:], severity, scale) else None
    return next((severity for severity, row in _SEVERITY_WORDS.items() if _begins(text, row.split("|"))), None)


def _other_grades(rest: str, severity: Severity, scale: Scale) -> bool:
    """Whether a remark names another severity: `SEV1 - SEV2` is no choice."""
    names = re.findall(r"(?<![A-Za-z0-9])(?:sev|severity|p|priority)[- ]?[0-9](?![0-9A-Za-z])", rest, re.IGNORECASE)
    return rest[1:2].isdigit() or any(scale.read(name) not in (severity, None) for name in names)


def _severity_doubt(title: str, text: str, scale: Scale) -> str:
    names = ", ".join(severity.on(scale) for severity in Severity)
    other = Scale.P if scale is Scale.SEV else Scale.SEV
    label = re.match(r"(?:p|priority)[- ]?([0-9])(?![0-9A-Za-z])", text, re.IGNORECASE)
    if scale is Scale.SEV and label and _grade(text, other) is not None:
        level = int(label[1])
        first = f"sev{level} where levels begin with 1, " if 1 <= level <= 4 else ""
        return f"{title}: '{visible(text)}' is {first}sev{level + 1} where {'they' if first else 'levels'} begin with P0. Please choose one of {names} or Not sure"
    return f"{title}: '{visible(text)}' is not one of {names} or Not sure"


def _unsure(text: str) -> bool:
    return _begins(text.lower() if text.isascii() else text, _UNSURE)


def _has(text: str, word: str) -> bool:
    if word.isascii():
        return (
            re.search(rf"(?<![a-z]){re.escape(word)}", text) is not None
            if len(word) > 3
            else (re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text) is not None)
        )
    return word in text


def _ticked(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    found = [re.match(r"[-*+] +\[([xX ]?)\] +(.*)", line) for line in lines]
    return [tick[2] for tick in found if tick and tick[1] in ("x", "X")] if lines and all(found) else []


def _is_answer(text: str) -> bool:
    boxes_only = (
        text.startswith(("- [", "* ["))
        and not _ticked(text)
        and all("[ ]" in line or "[]" in line for line in text.split("\n"))
    )
    return bool(text) and text not in {"_No response_", "None"} and not boxes_only


def _without_comments(text: str) -> str:
    parts: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 2)) >= 0:
        parts.append(text[at:start])
        at = end + 3
    return "".join([*parts, text[at:]]).strip(" \r\n")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()), "")


def _bare(title: str) -> str:
    """The title without the form's `[Incident]: `."""
    return re.sub(r"^\[[^\]\[]{1,40}\]:?\s*", "", title.strip()[:1000])


# --- times


class _NotATime(Exception):
    """The text names no moment; the message continues "'...' "."""


_WHAT_WORKS = "is not a time I can read. What works: 2026-03-14 14:05 UTC, or 30 minutes ago"
_MONTHS = {
    number: words.split("|")
    for number, words in enumerate(
        (
            "january|januar|jänner|janvier|enero|janeiro|gennaio|januari|stycznia|styczeń",
            "february|februar|février|febrero|fevereiro|febbraio|februari|lutego|luty",
            "march|märz|mars|marzo|março|maart|marca|marzec",
            "april|avril|abril|aprile|kwietnia|kwiecień",
            "may|mai|mayo|maio|maggio|mei|maja|maj",
            "june|juni|juin|junio|junho|giugno|czerwca|czerwiec",
            "july|juli|juillet|julio|julho|luglio|lipca|lipiec",
            "august|août|agosto|augustus|sierpnia|sierpień",
            "september|septembre|septiembre|setembro|settembre|września|wrzesień",
            "october|oktober|octobre|octubre|outubro|ottobre|października|październik",
            "november|novembre|noviembre|novembro|listopada|listopad",
            "december|dezember|décembre|diciembre|dezembro|dicembre|grudnia|grudzień",
        ),
        1,
    )
}
_ENGLISH = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_OF = {word: _ENGLISH[number - 1] for number, words in _MONTHS.items() for word in words}
_NOW = frozenset(
    [
        "now",
        "just now",
        "right now",
        "a moment ago",
        "jetzt",
        "gerade eben",
        "eben",
        "maintenant",
        "à l'instant",
        "ahora",
        "ahora mismo",
        "agora",
        "agora mesmo",
        "adesso",
        "nu",
        "teraz",
        "今",
        "たった今",
        "刚刚",
        "现在",
    ]
)
_DAYS = {
    0: "today|heute|aujourd'hui|hoy|hoje|oggi|vandaag|dzisiaj|dziś|今日|本日|今天",
    1: "yesterday|gestern|hier|ayer|ontem|ieri|gisteren|wczoraj|昨日|昨天",
}
_AGO = re.compile(
    r"(?:vor |il y a |hace |há )?(?P<n>[0-9]{1,4}(?:\.[0-9]{1,2})?|an?|one|half an|a couple of|einer|einem|une|un|una|um|uma) ?"
    r"(?P<unit>seconds?|secs?|s|minutes?|minuten?|minutos?|minuti|minuut|minut|mins?|m|hours?|hrs?|h|stunden?|heures?|horas?|ore|ora|uur|godzin[aęy]?"
    r"|days?|d|tage?n?|jours?|días?|dias?|giorni|dagen|dni|秒|分|分钟|時間|小时|日|天)"
    r"(?![a-zà-ÿ])(?: ago|前| geleden| fa| temu| atrás)?"
)
_WEEKDAY = re.compile(r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|satu?r?|sun)(?:day)?\b")
_DATED = re.compile(rf"[0-9][-/.][0-9]|\b(?:{'|'.join(_ENGLISH)})")
_AGO_SIGN = re.compile(r"\bago\b|^vor |^il y a |^hace |^há |前$| geleden$| fa$| temu$| atrás$")
_AMERICAN = frozenset(
    f"America/{city}"
    for city in [
        "New_York",
        "Chicago",
        "Denver",
        "Los_Angeles",
        "Phoenix",
        "Anchorage",
        "Detroit",
        "Boise",
        "Adak",
        "Juneau",
        "Nome",
        "Sitka",
        "Menominee",
    ]
) | {"Pacific/Honolulu"}
_OFFSETS = {
    name.lower(): int(hours * 3600)
    for hours, names in {
        0: "UTC GMT Z WET", 1: "CET MEZ WEST BST", 2: "CEST MESZ EET SAST", 3: "EEST MSK", 5.5: "IST",
        8: "SGT HKT AWST", 9: "JST KST", 9.5: "ACST", 10: "AEST", 11: "AEDT", 12: "NZST", 13: "NZDT",
        -3: "BRT", -4: "EDT", -5: "EST CDT", -6: "CST MDT", -7: "MST PDT", -8: "PST",
    }.items()
    for name in names.split()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Clock:
    """Reads what people write for a time.  `opened_at` is in UTC; `zone` is where they are if they do not say."""

    opened_at: datetime
    zone: str
    day_first: bool = False
    home: tzinfo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", _zone(self.zone) or UTC)

    def read(self, text: str) -> datetime:
        """The moment in UTC.  Raises _NotATime."""
        words = _plain_words(text)
        if words in _NOW:
            return self.opened_at
        if _AGO_SIGN.search(words):
            return self._ago(words)
        words, zone = self._named_zone(words)
        back = next((days for days, row in _DAYS.items() for day in row.split("|") if _word_in(day, words)), None)
        if back is not None:
            for day in _DAYS[back].split("|"):
                words = re.sub(
                    rf"(?:(?<=\W)|^){re.escape(day)}(?=\W|$)" if day.isascii() else re.escape(day), " ", words
                )
        words = " ".join(re.sub(r" (?:at|um|à|às|a las|alle|om|o|,) ", " ", f" {words} ").split()).strip(" ,")
        return self._absolute(words, zone, back)

    def _ago(self, words: str) -> datetime:
        words = re.sub(r"^half an hour ago$", "30 minutes ago", words)
        total = 0.0
        rest = words
        while rest:
            found = _AGO.match(rest)
            if not found:
                raise _NotATime(_WHAT_WORKS)
            total += _amount(found["n"]) * _unit(found["unit"])
            rest = re.sub(r"^[\s,]*(?:and |und |et |y |e )?", "", rest[found.end() :])
        if total > 366 * 86400:
            raise _NotATime("is longer ago than a year. Is that right?")
        return self.opened_at - timedelta(seconds=total)

    def _named_zone(self, words: str) -> tuple[str, tzinfo | None]:
        """The words without the zone they name, as `Europe/Berlin` or `CET`, and that zone."""
        found = re.search(r"\(?\b([a-z]{2,20}/[a-z_]{2,30}(?:/[a-z_]{2,30})?)\)?", words)
        if found:
            zone = _zone("/".join(part.upper() if part == "utc" else part.title() for part in found[1].split("/")))
            if zone is None:
                raise _NotATime("names a time zone I do not know. What works: 2026-03-14 14:05 UTC, or Europe/Berlin")
            return words.replace(found[0], " "), zone
        known = self._abbreviations()
        for found in re.finditer(r"(?<![^\W\d])\(?([a-z]{2,5})\)?(?![^\W\d])", words):
            if found[1] in known and found.start() > 0:
                zone = timezone(timedelta(seconds=known[found[1]]))
                return words[: found.start()] + " " + words[found.end() :], zone
        return words, None

    def _absolute(self, words: str, zone: tzinfo | None, back: int | None) -> datetime:
        local = self.opened_at.astimezone(zone or self.home)
        day = local.date() - timedelta(days=back or 0)
        weekday = back is None and _WEEKDAY.match(words) is not None and not _DATED.search(words)
        if weekday:
            day = local.date() - timedelta(days=6)
        midnight = datetime.combine(day, time())
        first = self._parse(words, midnight)
        other = self._parse(words, midnight - timedelta(days=27, hours=25))
        if first.time() != other.time():
            raise _NotATime("has no time of day, such as 14:05 UTC")
        dateless = first.date() != other.date()
        yearless = dateless and (first.month, first.day) == (other.month, other.day)
        at = self._settled(first, zone)
        if dateless and back is None and not weekday and at > self.opened_at + _SLACK:
            earlier = self._settled(first.replace(year=first.year - 1) if yearless else first - timedelta(days=1), zone)
            at = earlier if yearless or self.opened_at - earlier <= timedelta(hours=12) else at
        if at < self.opened_at - timedelta(days=3660):
            raise _NotATime("is more than ten years ago. Is that right?")
        return at

    def _parse(self, words: str, default: datetime) -> datetime:
        day_first = self._day_first(words)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                return dates.parse(words, default=default, dayfirst=day_first)
            except (ValueError, OverflowError, TypeError, AttributeError, Warning) as fault:
                raise _NotATime(_WHAT_WORKS) from fault

    def _abbreviations(self) -> dict[str, int]:
        """Seconds east of UTC; what the team's own zone is called wins: CST is Chicago or Shanghai."""
        known = dict(_OFFSETS)
        for month in (1, 7):
            moment = datetime(self.opened_at.year, month, 1, tzinfo=UTC).astimezone(self.home)
            name, offset = moment.tzname(), moment.utcoffset()
            if name and name.isalpha() and offset is not None:
                known[name.lower()] = int(offset.total_seconds())
        return known

    def _day_first(self, words: str) -> bool:
        found = re.search(r"(?<![0-9])([0-9]{1,2})([./-])([0-9]{1,2})\2[0-9]{2,4}(?![0-9])", words)
        if not found or found[2] == ".":
            return found is not None
        one, two = int(found[1]), int(found[3])
        if one > 12 or two > 12 or one == two:
            return one > 12
        if self.day_first or (self.zone not in _AMERICAN and "/" in self.zone and not self.zone.startswith("Etc/")):
            return True
        if self.zone in _AMERICAN:
            return False
        recent = []
        for first in (True, False):
            month, day = (two, one) if first else (one, two)
            days = (self.opened_at.date() - self.opened_at.date().replace(month=month, day=min(day, 28))).days
            recent.append(-1 <= days <= 7)
        if recent[0] == recent[1]:
            raise _NotATime("may mean two days. What works: 2026-03-14 14:05 UTC")
        return recent[0]

    def _settled(self, moment: datetime, zone: tzinfo | None) -> datetime:
        try:
            return (moment if moment.tzinfo and zone is None else moment.replace(tzinfo=zone or self.home)).astimezone(
                UTC
            )
        except (OverflowError, ValueError) as fault:
            raise _NotATime(_WHAT_WORKS) from fault


def _plain_words(text: str) -> str:
    """In lower case, with the marks and words of other languages as dateutil knows them."""
    words = " ".join(
        text.replace("−", "-").replace("\u2013", "-").replace("：", ":").replace("〜", " ").split()
    ).lower()
    words = words.strip("`*_~ .")
    words = re.sub(
        r"^(?:~|≈|about|approx(?:imately)?\.?|around|circa|ca\.?|since|at|on|gegen|seit|um|vers|depuis|alrededor de|desde|por volta de|約|约) *",
        "",
        words,
    )
    words = re.sub(r"([0-9]{4})[年] *([0-9]{1,2})[月] *([0-9]{1,2})[日号]?", r"\1-\2-\3 ", words)
    words = re.sub(r"([0-9]{1,2})[時时点] *([0-9]{1,2})分?", r"\1:\2", words)
    if not _AGO_SIGN.search(words):
        words = re.sub(r"([0-9]) (?:uhr|hrs|hours|o'clock)\b", r"\1", words)
        words = re.sub(r"([0-9]{1,2}) ?h ?([0-9]{2})?(?= |$)", lambda m: f"{m[1]}:{m[2] or '00'}", words)
    words = re.sub(r"(?<=[0-9:])-[0-9]{1,2}:[0-9]{2}(?=$| utc| gmt)(?<![03]0)(?<!45)", "", words)
    words = re.sub(r"(?<=\d) - .*?\d{1,2}:\d\d(?::\d\d)?", "", words)
    words = re.sub(r" ?\((?:about|approx|ca|circa|estimated|ungefähr|environ)[^()]*\)$", "", words)
    words = re.sub(r"\(([a-z]{2,5}|(?:utc|gmt)? ?[-+][0-9:]+)\)", r"\1", words)
    words = re.sub(
        r"\b(?:utc|gmt) ?([+-]) ?([0-9]{1,2})(?::?([0-9]{2}))?(?![0-9])",
        lambda m: f"{m[1]}{int(m[2]):02d}:{m[3] or '00'}",
        words,
    )
    words = re.sub(r"(?<=\d)\.? (?:de|di) (?=[^\W\d])|(?<=[^\W\d]) (?:de|di) (?=\d)", " ", words)
    return re.sub(r"[^\W\d_]{3,}", lambda m: _MONTH_OF.get(m[0], m[0]), words).strip()


def _word_in(word: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", words) is not None if word[0].isascii() else word in words


def _amount(word: str) -> float:
    if word == "half an":
        return 0.5
    return float(word) if word[0].isdigit() else 2.0 if word == "a couple of" else 1.0


def _unit(word: str) -> int:
    if word.startswith(("s", "秒")) and not word.startswith("stund"):
        return 1
    if word.startswith(("h", "stund", "or", "uur", "godzin", "時", "小")):
        return 3600
    return 86400 if word.startswith(("d", "t", "j", "g", "日", "天")) else 60


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
