"""A chat template makes nothing that fills the memory, by whichever way, and what templates usually do is done."""

import resource

import pytest

from edgelm.errors import BundleError
from edgelm.runtime.generation.chat import ChatTemplate

TALK = [{"role": "user", "content": "hi"}]
DOUBLED = "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = OTHER %}{% endfor %}{{ ns.a|length }}"
TOO_LONG = [
    DOUBLED.replace("OTHER", "ns.a ~ ns.a"),
    DOUBLED.replace("OTHER", "ns.a + ns.a"),
    DOUBLED.replace("OTHER", "ns.a|replace('x', 'xx')"),
    DOUBLED.replace("OTHER", "ns.a.replace('x', 'xx')"),
    DOUBLED.replace("OTHER", "m(ns.a)").replace("{% for", "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% for"),
    "{{ '%1000000000d'|format(1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ '1'.zfill(10**9) }}",
    "{{ 'a'.ljust(10**9)|length }}",
    "{{ ('\t' * 1000).expandtabs(10**6)|length }}",
    "{{ [1]|batch(10**9, 2)|list|length }}",
    "{{ messages|tojson(indent=10**8) }}",
    "{{ ('a\n' * 100000)|indent(100000) }}",
    "{{ ((10**60)**60)**60 }}",
    "{% set a = 'x' * 1000000 %}{% for i in range(100000) %}{{ a }}{% endfor %}",
]


@pytest.mark.parametrize("template", TOO_LONG)
def test_what_would_be_too_long_is_refused_before_it_is_made(template):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=r"makes what is too long|did not end"):
        ChatTemplate(template, limit_s=5.0)(TALK)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200


def test_what_templates_do_is_done():
    template = (
        "{{ 'a' ~ 1 ~ none }} {{ '%s-%d' % ('a', 3) }} {{ 'x {}'.format('y') }}"
        " {{ messages[0].content.replace('h', 'j') }}"
        " {{ 'b'.center(5) }} {{ [1, 2] + [3] }} {{ 3 + 4 }} {{ 'a' + 'b' }} {{ [1, 2]|join(', ') }}"
        " {{ messages|map(attribute='role')|join('-') }} {{ 'a\nb'|indent(2) }} {{ messages|tojson }} {{ 'a'|upper }}"
    )
    assert ChatTemplate(template)(TALK) == (
        'a1None a-3 x y ji   b   [1, 2, 3] 7 ab 1, 2 user a\n  b [{"role": "user", "content": "hi"}] A'
    )
