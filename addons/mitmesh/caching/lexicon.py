"""Words the gate knows: which mean nearly nothing, the same, the opposite, and which name things. By stem."""

# ruff: noqa: E501  tables of words and patterns, not prose
from __future__ import annotations

import re
from functools import cache

from mitmesh.caching.spelling import american


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


@cache
def stem(word: str) -> str:
    """A lower-case English word without plural, -ing and -ed; the same for all forms of most words, no dictionary form."""
    if len(word) < 4 or not word.isalpha():
        return word
    for end, put in (("ies", "y"), ("ied", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")):
        if word.endswith(end) and len(word) > len(end) + 2:
            return word[: -len(end)] + put
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) == 4 and word.endswith("ed") and re.search("[aiouy]", word[:2]):
        word = word[:-1]
    for end in ("ing", "ed"):
        root = word[: -len(end)]
        if word.endswith(end) and len(root) > 2 and re.search("[aeiouy]", root) and not root.endswith("e"):
            word = root[:-1] if root[-1] == root[-2] and root[-1] not in "lsz" else root
            break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    return word[:-1] if len(word) > 4 and word.endswith("ll") else word


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


FUNCTION = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "there",
        "here",
        "it",
        "its",
        "itself",
        "i",
        "im",
        "ive",
        "id",
        "me",
        "my",
        "mine",
        "we",
        "us",
        "our",
        "ours",
        "you",
        "your",
        "yours",
        "he",
        "him",
        "his",
        "she",
        "her",
        "hers",
        "they",
        "them",
        "their",
        "theirs",
        "one",
        "ones",
        "who",
        "whom",
        "whose",
        "what",
        "which",
        "when",
        "where",
        "why",
        "how",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "am",
        "do",
        "does",
        "did",
        "doing",
        "done",
        "have",
        "has",
        "had",
        "having",
        "will",
        "would",
        "shall",
        "should",
        "can",
        "could",
        "may",
        "might",
        "must",
        "ought",
        "to",
        "of",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "with",
        "into",
        "onto",
        "about",
        "as",
        "and",
        "or",
        "but",
        "if",
        "then",
        "than",
        "so",
        "because",
        "while",
        "after",
        "before",
        "during",
        "since",
        "until",
        "through",
        "via",
        "per",
        "s",
        "t",
        "d",
        "ll",
        "m",
        "re",
        "ve",
        "let",
        "lets",
        "just",
        "also",
        "too",
        "very",
        "really",
        "quite",
        "some",
        "any",
        "please",
        "thanks",
        "thank",
        "kindly",
        "hi",
        "hello",
        "hey",
        "dear",
        "ok",
        "okay",
        "well",
        "now",
        "want",
        "wants",
        "wanted",
        "need",
        "needs",
        "needed",
        "like",
        "am",
        "wanna",
        "gonna",
        "such",
        "each",
        "both",
        "between",
        "among",
        "amongst",
        "amid",
        "within",
        "across",
        "around",
        "upon",
        "along",
        "towards",
        "toward",
        "over",
        "under",
        "above",
        "below",
        "up",
        "down",
        "out",
        "off",
        "again",
        "more",
        "most",
        "less",
        "least",
        "much",
        "many",
        "few",
        "lot",
        "lots",
        "able",
        "possible",
        "way",
        "ways",
        "thing",
        "things",
        "something",
        "anything",
        "not",
        "no",
        "never",
        "none",
        "nor",
        "neither",
        "cannot",
        "without",
        "nobody",
        "nothing",
        "nowhere",
        "yes",
        "etc",
        "e",
        "g",
        "eg",
        "ie",
        "vs",
        "versus",
        "only",
        "all",
        "every",
        "always",
        "sometimes",
        "often",
        "rarely",
        "else",
        "other",
        "another",
        "own",
        "same",
    ]
)
_LIGHT = _stems(
    "tell explain describe show give provide know find out help wonder best effective good main primary key "
    "important impactful major recommend suggest recommended pattern strategy technique approach method introduce "
    "question answer wondering understand learn make try going go come take think sure exactly actually currently "
    "see look looking say mean would could metric value goal topic type write step steps guide detail details overview "
    "briefly brief short quick quickly simple simply basic information info people"
)
"""Say little of what is asked."""

_SAME = """
delete remove erase
create build generate produce
buy purchase
begin start commence
end finish terminate conclude
fix repair resolve solve troubleshoot
error problem issue trouble
fault flaw defect
vulnerability flaw weakness
quick fast rapid speedy
big large huge
small little tiny
car automobile
reduce lower decrease cut lessen mitigate mitigation shrink
increase raise grow
spend cost expense spending
price cost
strategy technique approach method pattern tactic way
review analyse analyze examine inspect assess identify evaluate
summarise summary summarize recap
result outcome finding
total reach amount hit
change modify alter edit update
show display
choose pick select
get obtain acquire receive got getting
send transmit
begin start
assist aid
use employ utilize
main primary principal key
danger risk hazard
configure configuration setup
optimise optimize optimization optimisation
compress compression
explain describe clarify explanation description
difference distinction differ
application app
photo picture photograph image
phone telephone
movie film
repository repo
database db
operate operating op
environment env
directory folder
function method
parameter argument
document documentation doc
developer programmer
job occupation
sick ill
smart clever intelligent
happy glad
child kid
doctor physician
shop store
city town
holiday vacation
advantage benefit pro
disadvantage drawback con downside
example sample instance
method technique
cause reason
goal objective aim
speed velocity
test testing
verify verification check
confirm confirmation
cancel cancellation
activate activation
register registration signup
refund reimbursement
arrive arrival
deliver delivery
transfer transferring
withdraw withdrawal withdrawl
pay payment
verify validate
exchange conversion convert
lost missing misplace
fee charge
cheque check
incorrect wrong
passcode pin
block blocked
top topup
decline reject refuse
still yet
anticipate expect
require need requirement
construct build
implement implementation
install installation
deploy deployment
migrate migration
authenticate authentication
authorise authorization authorisation authorize
encrypt encryption
organisation organization company
large big
permit allow enable
combine merge
iterate iteration loop
cutting-edge state-of-the-art
mandatory compulsory
optional
retrieve fetch
call invoke invocation coupling
transform convert
translate translation
calculate compute calculation computation
describe outline
compose draft write
reset
recover recovery restore
define definition
population inhabitants
author writer
capital
bps basis-point
yoy year-on-year year-over-year
k8s kubernetes
js javascript
ts typescript
postgres postgresql
llm
"""

_OPPOSITE = """
ascend:descend ascending:descending increase:reduce grow:fall rise:fall up:down on:off open:close enable:disable
allow:deny allow:block allow:forbid permit:deny accept:decline accept:reject accept:refuse add:delete add:subtract
insert:delete
create:delete begin:end start:stop before:after above:below over:under min:max minimum:maximum least:most first:last
more:less more:fewer many:few big:small long:short high:low tall:short fast:slow hot:cold warm:cool heat:cool hard:soft
hard:easy difficult:easy simple:complex old:new early:late left:right north:south east:west northern:southern
eastern:western buy:sell lend:borrow push:pull import:export encode:decode encrypt:decrypt compress:decompress
compress:extract zip:unzip lock:unlock block:unblock install:uninstall mount:unmount attach:detach connect:disconnect
bind:unbind include:exclude public:private internal:external inbound:outbound incoming:outgoing input:output read:write
upload:download send:receive give:take lose:gain lose:win win:loss profit:loss pass:fail success:failure
succeed:fail true:false yes:no
positive:negative good:bad best:worst better:worse advantage:disadvantage like:dislike love:hate safe:danger safe:unsafe
secure:insecure legal:illegal valid:invalid active:inactive activate:deactivate visible:hidden show:hide
expand:collapse expand:contract
sync:async synchronous:asynchronous static:dynamic mutable:immutable horizontal:vertical row:column parent:child
master:slave leader:follower primary:secondary client:server frontend:backend local:remote global:local online:offline
manual:automatic manually:automatically full:empty full:partial whole:partial entire:partial same:different
equal:different
agree:disagree appear:disappear arrive:depart arrival:departure enter:exit enter:leave entry:exit join:leave
login:logout
sign-in:sign-out male:female man:woman boy:girl king:queen husband:wife mother:father brother:sister son:daughter
boss:employee employer:employee teacher:student buyer:seller debit:credit deposit:withdraw hire:fire promote:demote
upgrade:downgrade uptrend:downtrend bull:bear strengthen:weaken strong:weak improve:worsen strict:loose wide:narrow
deep:shallow thick:thin heavy:light heavy:lightweight rich:poor young:old cheap:expensive always:never all:none
everyone:nobody with:without inside:outside in:out front:back top:bottom forward:backward forwards:backwards
horizontally:vertically
clockwise:counterclockwise clockwise:anticlockwise day:night morning:evening am:pm dawn:dusk summer:winter spring:autumn
past:future ancestor:descendant prefix:suffix head:tail odd:even maximize:minimize maximise:minimise maximise:minimize
optional:mandatory optional:require required:optional mandatory:optional known:unknown common:rare often:rarely
often:seldom single:multiple singular:plural single:married dependent:independent direct:indirect direct:inverse
ancient:modern alive:dead war:peace cause:effect question:answer supply:demand import:export credit:debit
approve:reject approve:deny
confirm:deny grant:revoke grant:deny freeze:unfreeze freeze:thaw subscribe:unsubscribe follow:unfollow mute:unmute
pack:unpack load:unload merge:split join:split divide:multiply sum:difference numerator:denominator stable:unstable
persistent:ephemeral persistent:transient permanent:temporary permanently:temporarily explicit:implicit eager:lazy
blocking:nonblocking greedy:lazy abstract:concrete stateful:stateless ingress:egress upstream:downstream north:south
inner:outer open:shut raise:lower raise:reduce increment:decrement acquire:release allocate:free allocate:deallocate
commit:rollback promote:rollback forward:reverse normal:reverse hidden:visible asleep:awake love:fear benefit:risk
pro:con gain:loss gain:lose
strength:weakness surplus:deficit ceiling:floor hit:miss pause:resume stop:resume keep:delete keep:discard save:discard
retain:delete remember:forget find:lose build:destroy create:destroy attack:defend offense:defense guilty:innocent
import:expel inhale:exhale freeze:melt boil:freeze sunrise:sunset tighten:loosen ally:enemy friend:enemy
fiction:nonfiction
acid:base hardware:software formal:informal polite:rude optimist:pessimist expand:shrink whitelist:blacklist
allowlist:denylist
opt-in:opt-out check-in:check-out cold:warm serialize:deserialize encode:decrypt lowercase:uppercase upper:lower
"""

_NAMES = """
python ruby java javascript typescript go golang rust kotlin swift scala perl php haskell elixir erlang clojure lua
julia
matlab fortran cobol bash powershell zsh sql html css react angular vue svelte django flask fastapi rails laravel spring
express node nodejs deno bun postgres postgresql mysql mariadb sqlite oracle mongodb cassandra redis memcached dynamodb
elasticsearch opensearch neo4j snowflake bigquery redshift kafka rabbitmq nats pulsar sqs aws azure gcp google amazon
microsoft apple meta facebook twitter instagram tiktok linkedin netflix spotify openai anthropic gemini claude gpt
llama mistral docker podman kubernetes nomad openshift terraform ansible puppet chef pulumi jenkins gitlab github
bitbucket circleci linux ubuntu debian fedora centos arch windows macos ios android nginx apache caddy haproxy traefik
envoy istio linkerd prometheus grafana datadog splunk slack teams zoom discord whatsapp telegram signal jira trello
asana notion excel word powerpoint outlook gmail chrome firefox safari edge opera visa mastercard amex paypal stripe
venmo cashapp pytorch tensorflow keras jax numpy pandas polars spark hadoop flink airflow dbt npm yarn pnpm pip conda
poetry cargo maven gradle webpack vite rollup grpc rest graphql soap http https ftp ssh telnet tcp udp ipv4 ipv6 dns
smtp imap json yaml xml toml csv parquet avro protobuf jpeg jpg png gif webp svg pdf mp3 mp4 wav flac zip tar gzip
md5 sha1 sha256 sha512 aes rsa jwt oauth saml ldap vim emacs vscode intellij eclipse
english german french spanish italian portuguese dutch russian chinese japanese korean arabic hindi turkish polish
swedish norwegian danish finnish greek hebrew latin czech hungarian romanian ukrainian vietnamese thai mandarin
cantonese
france germany spain italy portugal england britain uk scotland ireland wales usa us america canada mexico brazil
argentina
chile peru colombia china japan korea india pakistan bangladesh indonesia vietnam thailand australia russia ukraine
poland sweden norway denmark finland iceland netherlands belgium austria switzerland greece turkey egypt nigeria kenya
ethiopia morocco israel iran iraq europe asia africa paris london berlin madrid rome lisbon vienna moscow beijing tokyo
delhi mumbai sydney melbourne toronto chicago boston seattle dallas texas california florida munich hamburg frankfurt
barcelona milan venice dublin amsterdam brussels zurich geneva prague warsaw budapest oslo stockholm copenhagen helsinki
mercury venus earth mars jupiter saturn uranus neptune pluto moon sun bitcoin ethereum dogecoin
euro euros eur dollar dollars usd gbp pound sterling yen jpy yuan cny rupee rupees franc francs chf peso pesos
rouble ruble
monday tuesday wednesday thursday friday saturday sunday january february march april june july august september
october november december spring summer autumn fall winter christmas easter today tomorrow yesterday tonight
daily weekly monthly quarterly yearly annual annually hourly day week month year hour minute quarter decade century
dev development staging stage prod production test qa main master develop
red green blue yellow orange purple pink black white brown grey gray
dog cat horse cow pig sheep chicken beef pork lamb fish rice pasta bread apple banana orange lemon
cpu gpu memory ram disk network latency throughput bandwidth
gold silver bronze copper iron steel wood plastic oxygen hydrogen nitrogen carbon
kilometre km mile miles metre meter metres meters cm mm inch inches foot feet yard kg kilogram kilograms gram grams lb
lbs ounce ounces celsius fahrenheit kelvin litre litres liter liters gallon gallons second seconds millisecond
milliseconds
byte bytes kb mb gb tb bit bits kib mib gib
"""


_PERSONS = (
    "i me my mine myself we us our ours ourselves", "you your yours yourself yourselves", "he him his himself",
    "she her hers herself", "they them their theirs themselves",
)  # fmt: skip
PERSONS = {each: n for n, words in enumerate(_PERSONS) for each in words.split()}
"""The number of the person each pronoun speaks of."""
FIRST, THIRD = 0, (2, 3)
"""The one who asks; he and she."""
NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "none",
        "nor",
        "neither",
        "cannot",
        "cant",
        "dont",
        "doesnt",
        "didnt",
        "isnt",
        "arent",
        "wasnt",
        "werent",
        "wont",
        "wouldnt",
        "shouldnt",
        "couldnt",
        "hasnt",
        "havent",
        "hadnt",
        "mustnt",
        "without",
        "nobody",
        "nothing",
        "nowhere",
        "except",
        "avoid",
        "prevent",
        "stop",
        "unable",
        "fail",
        "fails",
        "failed",
        "failing",
        "refuse",
        "lack",
        "lacks",
        "lacking",
        "hardly",
        "barely",
        "unlike",
        "ain't",
        "aint",
        "neednt",
        "non",
        "isn",
        "don",
        "doesn",
        "didn",
        "aren",
        "wasn",
        "wouldn",
        "couldn",
        "shouldn",
    ]
)
PREPOSITIONS = frozenset(
    [
        "to",
        "into",
        "onto",
        "from",
        "by",
        "before",
        "after",
        "over",
        "under",
        "above",
        "below",
        "since",
        "until",
        "against",
        "via",
        "through",
        "than",
        "with",
        "of",
        "in",
        "on",
        "at",
        "for",
        "as",
        "inside",
        "outside",
        "towards",
        "behind",
        "beyond",
        "vs",
        "versus",
        "per",
    ]
)
DIRECTED = frozenset(
    [
        "to",
        "into",
        "onto",
        "from",
        "by",
        "before",
        "after",
        "over",
        "under",
        "above",
        "below",
        "since",
        "until",
        "against",
        "than",
        "inside",
        "outside",
        "towards",
        "behind",
        "vs",
        "versus",
    ]
)
QUANTIFIERS = frozenset(
    [
        "only",
        "solely",
        "exactly",
        "all",
        "every",
        "each",
        "always",
        "sometimes",
        "often",
        "usually",
        "must",
        "both",
        "either",
        "least",
        "most",
        "more",
        "less",
        "fewer",
        "unless",
        "until",
        "instead",
        "few",
        "many",
        "several",
        "most",
        "half",
        "twice",
        "double",
        "triple",
        "again",
    ]
)
TIMES = frozenset(
    [
        "next",
        "last",
        "previous",
        "current",
        "past",
        "future",
        "ago",
        "later",
        "earlier",
        "before",
        "after",
        "now",
        "today",
        "tomorrow",
        "yesterday",
    ]
)


def _groups() -> dict[str, str]:
    """Each stem with the first word of the first line it stands in; lines that share a word are one group."""
    canonical: dict[str, str] = {}
    for line in _SAME.split("\n"):
        stems = [stem(american(word)) for word in line.split()]
        if not stems:
            continue
        known = next((canonical[each] for each in stems if each in canonical), stems[0])
        for each in stems:
            canonical.setdefault(each, known)
    return canonical


SYNONYMS = _groups()
_HEADINGS = """
the a an of and on about this my topic subject title question problem issue task request review summary report overview
analysis architecture communication context background introduction code
"""
LIGHT = frozenset(SYNONYMS.get(each, each) for each in (*_LIGHT, *map(stem, map(american, _LIGHT))))
OPPOSITES = frozenset(
    pair
    for each in (*_OPPOSITE.split(),)
    for one, other in [each.split(":")]
    for a in {one, stem(one), SYNONYMS.get(stem(one), stem(one))}
    for b in {other, stem(other), SYNONYMS.get(stem(other), stem(other))}
    if a != b
    for pair in ((a, b), (b, a))
)
HEADINGS = frozenset(SYNONYMS.get(stem(each), stem(each)) for each in _HEADINGS.split())
"""Say in a heading only what kind of text it is, or what about."""
_WORDS_TOO = frozenset(
    [
        "go",
        "rest",
        "word",
        "express",
        "signal",
        "edge",
        "main",
        "test",
        "master",
        "may",
        "march",
        "fall",
        "spring",
        "chef",
        "excel",
        "safari",
        "dash",
        "foot",
    ]
)
NAMES = frozenset(each for word in _NAMES.split() for each in (word, stem(word))) - _WORDS_TOO


def canonical(word: str) -> str:
    """The stem, or the stem that stands for all that mean the same."""
    root = stem(american(word))
    return SYNONYMS.get(root, root)
