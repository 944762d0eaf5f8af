"""Makes english.jsonl and chinese.jsonl, general text to calibrate on: python calibration_data/generate_text.py

Deterministic. Sentences of many kinds (reviews, questions, news, manuals, talk, numbers) are drawn and joined to texts
of one to eight sentences, so that lengths vary as in real use.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

ENGLISH = {
    "person": "my sister|the new neighbour|a colleague|our teacher|the mechanic|Mrs Okafor|the whole team|an old "
    "friend|the driver|Daniel",
    "thing": "kettle|phone|bicycle|jacket|printer|backpack|headset|coffee machine|novel|lawn mower|keyboard|tent",
    "place": "Lisbon|the harbour|the city library|a village near Graz|platform nine|the north shore|Nairobi|the old "
    "market hall",
    "good": "excellent|surprisingly quiet|sturdy|well made|worth every penny|a real pleasure|clever|better than the "
    "last one",
    "bad": "disappointing|far too loud|cracked after a week|overpriced|hard to clean|flimsy|a waste of time|late again",
    "time": "yesterday|on 14 March|at 7:45 am|last autumn|two weeks ago|this morning|in 2019|before the meeting",
    "number": "3|12|48|250|1,024|7.5|90|36",
    "topic": "the budget|climate research|the second season|the tax form|sourdough|the election|a software update|the "
    "harvest",
}
ENGLISH_PATTERNS = """The {thing} I bought {time} is {good}.
The {thing} arrived {time}, but it was {bad}.
Would you recommend this {thing} to {person}?
{person} called {time} and asked about {topic}.
Trains to {place} leave every {number} minutes, except on public holidays.
How long does it take to get from {place} to {place}?
Officials in {place} said {time} that {topic} would need {number} million more.
Remove the cover, wait {number} seconds, and press the button until the light turns green.
I have read about {topic} for {number} hours and I still do not understand it.
"We should talk about {topic}," said {person}, "but not here."
Please find attached the report on {topic}; figure {number} has been corrected.
It rained in {place} {time}, so we stayed inside and repaired the {thing}.
Order no. {number}-{number}: one {thing}, delivered to {place}.
See https://example.org/help/{number} if the {thing} does not start.
According to the study, {number} % of the people in {place} had never heard of {topic}.
No, I never said that the {thing} was {bad}; I said that the price was.
Even though {person} was tired, the evening in {place} was {good}.
Thanks a lot!!! The {thing} works again :)
Can {person} return the {thing} without a receipt?
The meeting about {topic} has been moved to {place} because the projector is {bad}.
If the pressure falls below {number} bar, the pump stops and an error is written to the log.
She grew up in {place}, studied law, and wrote {number} books about {topic}.
lol that {thing} is {good}, where did u get it
What a {thing}! {person} could not stop talking about it."""
CHINESE = {
    "人": "我姐姐|新来的邻居|王老师|他的同事|那位司机|小李|医生|整个团队",
    "物": "水壶|手机|自行车|外套|打印机|耳机|咖啡机|小说|键盘|帐篷",
    "地": "杭州|市图书馆|火车站|海边的小镇|成都|公司三楼|菜市场|学校门口",
    "好": "非常好用|质量不错|物有所值|让人满意|比以前的好多了|设计得很巧妙",
    "坏": "令人失望|声音太大|一周就坏了|太贵了|很难清洗|又迟到了",
    "时": "昨天|上周末|3月14日|今天早上7点45分|去年秋天|两个星期前|开会之前",
    "数": "3|12|48|250|1024|7.5|90|36",
    "事": "预算|气候研究|第二季|软件更新|报税表|这场比赛|收成|新地铁线路",
}
CHINESE_PATTERNS = """{时}买的{物}{好}。
{物}{时}到了，可是{坏}。
你会把这个{物}推荐给{人}吗？
{人}{时}打电话来，问起了{事}。
去{地}的车每{数}分钟一班，节假日除外。
从{地}到{地}要多长时间？
{地}的官员{时}表示，{事}还需要{数}万元。
打开盖子，等待{数}秒，然后按住按钮，直到绿灯亮起。
关于{事}，我看了{数}个小时的资料，还是不太明白。
“我们应该谈谈{事}，”{人}说，“但不是在这里。”
{地}{时}下雨了，我们只好待在屋里修{物}。
订单号{数}-{数}：{物}一个，送到{地}。
研究显示，{地}有{数}%的人从来没听说过{事}。
不，我没说{物}{坏}，我说的是价格。
虽然{人}很累，但是在{地}的那个晚上{好}。
谢谢！！{物}又能用了，哈哈。
没有发票，{人}可以退{物}吗？
讨论{事}的会议改到了{地}，因为投影仪{坏}。
如果压力低于{数}巴，水泵就会停止，并把错误写入日志。
她在{地}长大，写过{数}本关于{事}的书。"""


def make(fillers: dict[str, str], patterns: str, *, count: int, joiner: str, seed: int) -> list[str]:
    """`count` different texts of one to eight sentences."""
    rng = random.Random(seed)
    lengths = itertools.cycle((1, 1, 1, 2, 2, 3, 4, 8))
    texts: dict[str, None] = {}
    while len(texts) < count:
        sentences = rng.sample(patterns.splitlines(), next(lengths))
        filled = [
            re.sub(r"\{(\w+)\}", lambda slot: rng.choice(fillers[slot.group(1)].split("|")), sentence)
            for sentence in sentences
        ]
        texts[joiner.join(sentence[0].upper() + sentence[1:] for sentence in filled)] = None
    return list(texts)


def write(folder: Path) -> None:
    """Write both files as JSON lines with the key `text`."""
    files = {
        "english": make(ENGLISH, ENGLISH_PATTERNS, count=600, joiner=" ", seed=1),
        "chinese": make(CHINESE, CHINESE_PATTERNS, count=400, joiner="", seed=2),
    }
    for name, texts in files.items():
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8"
        )


if __name__ == "__main__":
    write(Path(__file__).parent)
