"""A DNS of literals for tests of policy: a table of what each question is told, and a driver without a loop."""

from collections.abc import Mapping, Sequence

from sipcore.policy.locate import Locate, Located
from sipcore.policy.questions import Answer, Failure, LookupFailed, Naptr, Question, Srv

Records = Sequence[str | Srv | Naptr]
Script = Mapping[tuple[str, str], Records | Answer | Exception]


def tell(script: Script, question: Question) -> Answer | Failure:
    """What the script says: records, a whole answer, an exception for a failure; nothing is "not found"."""
    said = script.get((question.name, question.type), ())
    if isinstance(said, Exception):
        return Failure(question, str(said))
    return said if isinstance(said, Answer) else Answer(question, tuple(said), ttl=60.0, server="192.0.2.53:53")


def run(locate: Locate, script: Script, asked: list[Question] | None = None) -> Located:
    """Drive a generator to its end; every question is put into `asked`."""
    asked = [] if asked is None else asked
    try:
        wanted = next(locate)
        while True:
            assert len(asked) < 200, "a lookup that does not end"
            if isinstance(wanted, Question):
                asked.append(wanted)
                told = tell(script, wanted)
                if isinstance(told, Failure):
                    wanted = locate.throw(LookupFailed(wanted, why=told.why))
                else:
                    wanted = locate.send(told)
            else:
                asked.extend(wanted)
                wanted = locate.send(tuple(tell(script, question) for question in wanted))
    except StopIteration as end:
        return end.value
