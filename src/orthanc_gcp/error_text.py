"""What somebody else says of an error, as far as it may be shown: the one place that decides it.

Stores, proxies, token endpoints and libraries write what they like into an error: the headers of
the request, a token in any spelling, the values of a patient who is in the image at hand or in
another one. To search a text for all that must not be seen would need to know it, in each of its
forms. So it is the other way round: only those words pass that errors are made of. Names of people,
numbers, dates, identifiers and secrets are none of them, whatever their encoding; in their place
stands an ellipsis.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from http import HTTPStatus

__all__ = ["classified", "is_classified", "media_type"]

_LONGEST_READ, _LONGEST = 4000, 300
_LEFT_OUT = "…"
_FEWEST_WORDS = 2
"""Words that are left of a text; with fewer it says nothing."""

_AROUND = "\"'`()[]{}.,:;!?*"
_SEPARATORS = re.compile(r"([/:=,])")
_LETTERS = re.compile(r"[A-Za-z\"'`()\[\]{}.;!?*_+-]+")
"""What a segment of words is made of: no digit, no percent sign, no backslash, nothing foreign."""
_RUNS_OF_LETTERS = re.compile(r"[A-Za-z]+")
_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_GROUPS = "0002|0004|0008|0009|0010|0018|0020|0028|0032|0038|0040|0054|0088|7[Ff][Ee]0"
_SPECIAL = re.compile(
    rf"(?:{_GROUPS}),[0-9A-Fa-f]{{4}}"  # the tag of an attribute (DICOM PS3.6)
    r"|1\.2\.840\.10008(?:\.[0-9]{1,4}){1,9}"  # a UID of the standard (DICOM PS3.6 annex A)
)
_PHRASES = {str(one.value): one.phrase.split()[0].lower() for one in HTTPStatus}
_RUN = re.compile(rf"{_LEFT_OUT}(?:[\s/:=,]*{_LEFT_OUT})+")
_MEDIA_TYPE = re.compile(r"(application|text|multipart|image|audio|video)/([a-z.+-]{1,60})")


def classified(text: str, known: Collection[str] = (), hidden: Iterable[str] = ()) -> str:
    """The words of an error text that may be shown to anybody, in one bounded line.

    Parameters
    ----------
    known
        Words that the reader knows already, such as the names of the store that was asked: they
        pass as they are.
    hidden
        The secrets of the request: they do not pass, even if they are made of words.

    Returns
    -------
    str
        Empty where nothing is left that says anything.
    """
    text = text[:_LONGEST_READ]
    for secret in filter(None, hidden):
        text = re.sub(re.escape(secret), _LEFT_OUT, text, flags=re.IGNORECASE)
    chunks = text.split()
    shown = _RUN.sub(
        _LEFT_OUT,
        " ".join(
            chunk if _is_status(chunk, after) else _chunk(chunk, known)
            for chunk, after in zip(chunks, [*chunks[1:], ""], strict=False)
        ),
    )
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST].rpartition(' ')[0]} {_LEFT_OUT}"
    words = len(_PIECES.findall(shown))
    return shown if words >= _FEWEST_WORDS or (words and _LEFT_OUT not in shown) else ""


def is_classified(word: str) -> bool:
    """Whether a word that a server sent, such as a reason, is made of words of errors only."""
    return len(word) <= _LONGEST and _LETTERS.fullmatch(word) is not None and _are_words(word)


def media_type(content_type: str) -> str:
    """The media type of a ``Content-Type`` (RFC 9110 §8.3.1), if it is a usual one; else empty."""
    kind = content_type.partition(";")[0].strip().lower()[:_LONGEST]
    found = _MEDIA_TYPE.fullmatch(kind)
    return kind if found and _are_words(found[2]) else ""


def _is_status(chunk: str, after: str) -> bool:
    """Whether it is a status with its own phrase, ``403 Forbidden`` (RFC 9110 §15)."""
    core = chunk.strip(_AROUND)
    return _PHRASES.get(core) == after.strip(_AROUND).lower()


def _chunk(chunk: str, known: Collection[str]) -> str:
    """What stands between two spaces: a word with its punctuation, a path, an assignment."""
    core = chunk.strip(_AROUND)
    if core and (core in known or _SPECIAL.fullmatch(core)):
        return chunk
    return "".join(_segment(one, known) for one in _SEPARATORS.split(chunk))


def _segment(segment: str, known: Collection[str]) -> str:
    if not segment or segment in "/:=," or segment.strip(_AROUND) in known:
        return segment
    passes = _LETTERS.fullmatch(segment) and _are_words(segment) and not _may_be_names(segment)
    return segment if passes else _LEFT_OUT


def _may_be_names(text: str) -> bool:
    """Whether it has words that are common names as well, and are written as names are."""
    runs = _RUNS_OF_LETTERS.findall(text)
    return any(run.lower() in _NAMES and not run.islower() for run in runs)


def _are_words(text: str) -> bool:
    return all(
        run.lower() in _WORDS or all(piece.lower() in _WORDS for piece in _PIECES.findall(run))
        for run in _RUNS_OF_LETTERS.findall(text)
    )


_TEXT = """
a able abort aborted about above absent accept acceptable accepted access according account accounts
acknowledged across action activate activated active actual add added address admin administrator ae
again against algorithm all allocated allow allowed already also an and annotation another answer
answered any api apis app application applications apply are argument arguments array as assertion
at attempt attempted attempting attribute attributes aud audience audit auth authenticate
authenticated authenticating authentication authority authorization authorize authorized available
aws azp back backend bad badly balancer base be because become been before being belong below beta
between bi binary binding birth bit bits blob blocked body boundary broken browser bucket bulk
bulkdata busy but by byte bytes cache call called caller calling can canceled cancelled cannot
captive cause caused certificate certificates chain change changed changing character characters
charset check checked checking checksum chunk claim claims class client clients clock close closed
closing cloud code codec coding collection columns com command complete completed compressed
compression concurrent condition conditions configuration configured conflict conflicts connect
connecting connection connections console constraint constraints consumer contact contain contained
contains content contents control controls conversion convert converted cookie core correct corrupt
corrupted could count cpu create created creating creation credential credentials creds cs current
currently customer da daily data database dataset datasets date day days dcm deadline decode decoded
decoding decompress decompressing default defined defining deflated delegate delegates delegation
delete deleted deleting denied deny dependency deprecated depth described description destination
detail details developer developers device dicom dicomstore dicomstores dicomweb did differ
different digest digit digits directory disable disabled disallowed discontinued disk dns do docs
document documentation does doesn domain domains done down download ds dt due duplicate duplicated
during each editor either element elements else email embedded empty enable enabled encode encoded
encoding encountered encrypted encryption end ended endpoint ends engine enough ensure enterprise
entity entry environment eof errno error errors event exactly exceed exceeded exceeds except
exception executable executables execute execution exhausted exist existing exists exit exited exp
expect expected expiration expire expired expires expiry explicit explicitly external extra fail
failed failing fails failure failures false fd federated federation few field fields file files
filter find firewall first fl float folder follow following for forbidden form format formatted
found frame frames from front full function gaia gateway gave gcp generate generated get given gke
global gone google googleapis grant granted greater group groups had handle handler handling
handshake has hash hashes have having head header headers healthcare hex higher hint host hosts hour
hours hsts html http https hung iam iamcredentials iat id ident identical identifier identifiers
identity idle if ignored image images imds impersonate impersonated impersonation implausible
implicit import in inactive included including incompatible incomplete inconsistent incorrect index
inexistent info information ingest ingestion ingress inner input insert instance instances instead
insufficient integer integrity intermediate internal interrupted into introspect invalid invalidated
inverse io ip is isn iss issued issuer it item items its jls job jobs jpeg json jwk jwks jwt keep
key keyid keys kid kind know known kubernetes label large larger last later latest learn least left
legacy length less level like limit limited limits line list listed lived lo load loaded loading
local localized location locations lock locked log login longer lossless lossy low lower lt lua made
magic malformed manager mandatory many map mask match matched matches matching max maximum may md
media member memory message messages meta metadata method methods metric mime minimum minute minutes
mismatch missing modality mode modified modify module moment monochrome more most multi multiframe
multipart multiple multiplicity must name named names namespace native need needed needs nested net
network new next no non none nor not nothing notification now null number numbers oauth ob object
objects occurred octet od of off offset ok ol old on once one only open openid operation operations
ops option optional options or order org organization orgpolicy origin orthanc other others out
output over overloaded ow own owner package padding page palette parameter parameters parent parse
parsed parser parsing part partial partition parts party pass passed passphrase password path
patient patients pattern payload peer pem pending per perform performed perimeter permanent
permission permissions permitted photometric pipe pixel plain planar please plugin plugins pn point
policy pool pools port portal possible post preamble precondition preconditions prefix prefixes
present preventing previous principal private privileges proceed process processed processing
profile prohibited project projects propagate properties property protocol provide provided provider
providers proxy public purpose put python query queue quickly quota quotas quoted range rapt rate
rather re reach reached read readable reading reason reasonable reauth reauthentication receive
received recent recently record records recycle recycled recycling redirect redirection redirects
refer reference referenced refresh refused refusing region registered regular reject rejected
related released remote remove removed repeated replace replaced report representation request
requested requesting requests require required requires reset resolution resolve resolved resource
resources response responses restrict restricted restriction result results retried retries retrieve
retrieved retry retrying return returned returns revoke revoked rfc right rle role roles root round
route row rows rpc rpcs rsa rule rules run running runtime s same samples sas schema scheme scope
scopes script second seconds secret section secure security see segment segments self send sending
sent sequence sequences series server servers service serviceaccount serviceaccounts services
serviceusage session set sets several sex sh sha shared short should sign signature signed signing
size sizes sl slow socket some something soon sop source space specific specified specify sq ss ssl
st stale standard start started state status step still stop stopped storage store stored stores
storing stow stream string strings structure sts studies study style sub subject submitted subnet
subsequent success successful successfully such suffix support supported suspended sv svc syntax
syntaxes system systems t tag tags take taken target task temporarily temporary tenant terminated
text than that the their them then there therefore these they this those thread threads threshold
throttled through time timed timeframe timeout timestamp tls tm to together token tokeninfo tokens
too total trailing transaction transcode transcoding transfer transient trip troubleshoot
troubleshooting true truncated trust trusted try trying two type types uc ui uid uids ul un unable
unacceptable unauthenticated unauthorized unavailable unclosed undefined under unexpected
unimplemented unique unit unknown unless unparseable unprocessable unreachable unreadable
unrecognized unregistered unsigned unsupported until up update updated upload upstream ur uri uris
url urls us usage use used user userinfo username users uses using ut utf uv valid validate
validated validation value values variable verb verification verify version versions via viewer
violated violates violation visit visiting vm vpc vr vrs wado wait waiting want wants warning was
way we web were when where whether which while who whole whose width will window with within without
word words work worker workforce workload would writable write writing wrong www x xml yaml you your
zero zone
"""
_LIKE_NAMES = """
back call close daily day field fields frame grant head hung key keys large lock low may meta
new ok page parent pass pool post read root rule samples self short soon still way will word
"""
_NAMES = frozenset(_LIKE_NAMES.split())
"""The words that are common names of people as well: they pass in small letters."""
_WORDS = frozenset(_TEXT.split())
"""The words that pass: those of Google's errors, of HTTP (RFC 9110) and OAuth 2.0 (RFC 6749 and
RFC 8693), of DICOM's attributes and services, of libraries; and the small words between them."""
