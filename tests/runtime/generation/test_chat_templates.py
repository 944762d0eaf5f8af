"""A conversation becomes the prompt that transformers makes of it; a template that misbehaves is stopped."""

import threading
import time

import pytest
from generators import SENTENCES
from small_generator_tokenizers import generator_tokenizer

from edgelm.errors import BundleError, DataError, UsageError
from edgelm.runtime.generation.chat import ChatTemplate

TALK = [
    {"role": "system", "content": "Be short.\n"},
    {"role": "user", "content": "  Hello <b>& you</b> "},
    {"role": "assistant", "content": "Hi 🙂"},
    {"role": "user", "content": "And now?"},
]
TEMPLATES = {
    "loop controls": (
        "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}\n  {{ m.content }}\n{% endfor %}"
    ),
    "namespace": (
        "{%- set ns = namespace(found='') -%}\n{%- for m in messages -%}\n  {%- if m['role'] == 'system' -%}\n"
        "    {%- set ns.found = m['content'] | trim -%}\n  {%- endif -%}\n{%- endfor -%}\n{{ ns.found }}|"
        "{{ messages[-1]['content'].upper() }}"
    ),
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ {'a': '<é>'} | tojson }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "macro": (
        "{% macro say(m) %}[{{ m.role }}] {{ m.content }}{% endmacro %}"
        "{% for m in messages %}{{ say(m) }}\n{% endfor %}"
    ),
    "tokens": "{{ bos_token }}{{ messages[1].content }}{{ eos_token }}{% if add_generation_prompt %}>{% endif %}",
    "methods": "{{ messages[0].content.split(' ')[0] }}{{ 'a' * 3 }}{{ 2 ** 3 }}{{ messages | length * 2 }}"
    "{% if tools is not none %}t{% endif %}{{ messages[1:] | map(attribute='role') | join(',') }}",
}


def both(tokenizer, template, messages, answer):
    tokens = {name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    wanted = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=answer
    )
    return ChatTemplate(template, tokens)(messages, answer=answer), wanted


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_prompts_are_transformers(template, answer):
    found, wanted = both(generator_tokenizer("llama", SENTENCES), template, TALK, answer)
    assert found == wanted


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_prompts_of_families_are_transformers(family):
    tokenizer = generator_tokenizer(family, SENTENCES)
    found, wanted = both(tokenizer, tokenizer.chat_template, TALK[1:], True)
    assert found == wanted


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{% for a in range(9) %}{{ m() }}{% endfor %}{% endmacro %}{{ m() }}",
    ],
    ids=["loops", "calls itself"],
)
def test_a_template_that_does_not_end_is_stopped(template):
    threads, began = threading.active_count(), time.monotonic()
    with pytest.raises(BundleError, match="chat template"):
        ChatTemplate(template, limit_s=0.3)(TALK)
    assert time.monotonic() - began < 5  # on a machine with other work, where 0.3 s are not enough
    for _ in range(100):
        if threading.active_count() == threads:
            break
        time.sleep(0.05)
    assert threading.active_count() == threads  # it does not go on in the background


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "outside"),
        ("{{ messages.append(1) }}", "outside"),
        ("{{ raise_exception.__globals__.items() }}", "outside"),
        ("{% include 'other' %}", "fails"),
        ("{{ 'a' * 10**10 }}", "too long"),
        ("{{ 9 ** (9 ** 9) }}", "too long"),
        ("{% for %}", "cannot be read"),
        ("{{ missing.attribute.deeper }}", "fails"),
    ],
)
def test_a_template_that_misbehaves_is_refused(template, words):
    with pytest.raises(BundleError, match=words):
        ChatTemplate(template)(TALK)


def test_what_a_template_refuses_is_said():
    with pytest.raises(DataError, match="must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}")(TALK)


@pytest.mark.parametrize(
    ("messages", "error", "words"),
    [
        ([], UsageError, "needs a message"),
        ([{"role": "user"}], UsageError, "message 0"),
        ([{"role": "user", "content": "a"}, {"content": "b"}], UsageError, "message 1"),
        ([{"role": "wizard", "content": "a"}], DataError, "'wizard' is not known"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, error, words):
    with pytest.raises(error, match=words):
        ChatTemplate("{{ messages }}")(messages)
