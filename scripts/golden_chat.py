"""Writes part 3's golden chats: real chat templates (some shortened) as rendered by transformers.

Usage:     python scripts/golden_chat.py crates/model_io/tests/golden/chats.json
"""

import json
import sys
from pathlib import Path

import jinja2
import transformers
from transformers.utils.chat_template_utils import render_jinja_template

# A backslash at the end of a line continues the line of the template.
TEMPLATES = {
    "SmolLM2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
        "{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "Qwen2.5": """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful\
 assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or\
 (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "Llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "Mistral-Instruct": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate\
 user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
""",
    "Qwen3": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1)\
 %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and\
 not(message.content.startswith('<tool_response>') and\
 message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content =\
 content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and reasoning_content %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') +\
 '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    # SmolLM3's tags for the tokens to train on. This tests the whitespace around the tags.
    "generation tags": """{% for message in messages %}
    {% if message.role == 'assistant' %}
        {% generation %}
  <a>{{ message.content }}</a>
        {% endgeneration %}
    {%- else -%}
        <{{ message.role }}>{{ message.content }}
    {%- endif %}
    {%- if loop.last %}{%- generation -%} end {%- endgeneration -%}{% endif %}

{% endfor %}
{% if add_generation_prompt %}<a>{% endif %}
""",
    "Python": """{# methods, loop controls, JSON #}
{% for message in messages %}
  {% if message.role == 'system' %}{% continue %}{% endif %}
  {% if loop.index > 4 %}{% break %}{% endif %}
{{ message.role.upper() }} {{ message.role.title() }}: {{ message.content.strip().replace("a",\
 "A") }}
{{ message | tojson }} {{ {'c': message.content.split(), 'n': 1, 'x': 1.5, 'e': [], 'none': none}\
 | tojson(indent=2) }}
{{ message.content | tojson(ensure_ascii=False) }}
{{ message.get('name', 'nobody') }} {% for key, value in message.items() %}{{ key }}={{ value |\
 length }};{% endfor %}
{{ message['content'][:3] }}|{{ message['content'][-2:] }}|{{ 'x' if 'user' in message.role else\
 'y' }}|{{ "%s" | format(loop.index) }}
{% endfor %}
{%- if not tools and tools is defined and documents is none %}{{ missing }}{{ bos_token is defined\
 }}{{ (1, 2) | length }}{% endif %}
{% set last = messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list |\
 last %}
{{- last | default('none', true) }} {{ 7 // 2 }} {{ 'a' ~ 1 }} {{ messages | map(attribute='role')\
 | join(', ') }}
""",
}
TOKENS = {"Llama-3": ("<|begin_of_text|>", "<|eot_id|>"), "Mistral-Instruct": ("<s>", "</s>")}

chat = lambda *turns: [{"role": role, "content": content} for role, content in turns]
CHATS = [
    chat(("user", "What is 2+2?")),
    chat(
        ("system", "Be brief."),
        ("user", " Hi \n"),
        ("assistant", "Hello!\n\n"),
        ("user", "नमस्ते 😀 <b>'a' & \"b\"</b> \\u003c"),
    ),
    chat(
        ("user", "a"),
        ("assistant", "<think>\nhm, a\n</think>\n\nA"),
        ("user", "b"),
        ("assistant", "<think>\nhm\n</think>\n\nB"),
    ),
    chat(("user", "one"), ("user", "two")),
]

golden = {"transformers": transformers.__version__, "chats": CHATS, "templates": []}
for name, source in TEMPLATES.items():
    bos, eos = TOKENS.get(name, (None, "<|im_end|>"))
    tokens = {key: token for key, token in [("bos_token", bos), ("eos_token", eos)] if token}
    rendered = []
    for messages in CHATS:
        for prompt in [False, True]:
            try:
                texts, spans = render_jinja_template(
                    [messages],
                    chat_template=source,
                    add_generation_prompt=prompt,
                    return_assistant_tokens_mask=True,
                    **tokens,
                )
                rendered.append({"text": texts[0], "spans": spans[0]})
            except jinja2.exceptions.TemplateError as error:
                rendered.append({"error": str(error)})
    golden["templates"].append(
        {"name": name, "source": source, "bos": bos, "eos": eos, "rendered": rendered}
    )
Path(sys.argv[1]).write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
