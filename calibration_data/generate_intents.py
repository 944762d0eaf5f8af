"""Makes the smart-home intents set: python calibration_data/generate_intents.py [--check]

Deterministic: the same seed gives the same bytes. Patterns and fillers of dev and test are partly held out of train,
words of one intent occur in others ("turn it down" is said to lamps, heating and music), people correct themselves,
hint instead of asking, and mistype; 1.5 % of the training labels are wrong. So a model can fail on it. `--check` prints
what a bag of words reaches.
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

SIZES = {"train": 3000, "dev": 500, "test": 1000}
SEED = 20
LABEL_NOISE = 0.015

# Fillers: the part after | is used in dev and test only.
FILLERS = {
    "room": "kitchen,living room,bedroom,hallway,bathroom,office,garage,nursery|attic,dining room,guest room,cellar",
    "lamp": "lights,lamp,ceiling light,reading lamp,spotlights|chandelier,floor lamp,bulbs",
    "color": "red,blue,warm white,green,orange|purple,candlelight yellow,turquoise",
    "percent": "ten percent,20%,thirty percent,half,60%|a quarter,45%,eighty percent",
    "degrees": "19 degrees,twenty one,22 degrees,eighteen,20.5|23 degrees,seventeen and a half,sixty eight fahrenheit",
    "music": "some jazz,the morning playlist,a podcast,the radio,some quiet piano,rock classics|the new album by that "
    "band,lullabies,the news",
    "minutes": "ten minutes,5 minutes,half an hour,two minutes,an hour|ninety seconds,a quarter of an hour,45 min",
    "time": "seven,6:30,half past eight,7 am,noon|quarter to six,nine thirty,5:45 tomorrow",
    "door": "front door,back door,garage door,patio door|side gate,cellar door,balcony door",
    "blind": "blinds,curtains,shutters,shades|drapes,awning,roller blinds",
    "item": "milk,eggs,coffee,bread,dish soap,bananas|oat milk,batteries,cat litter,olive oil",
    "dish": "pasta,eggs,rice,tea,pizza|lasagne,cookies,lentils",
    "city": "here,in town,outside,at the lake|in the mountains,by the coast,in the valley",
    "day": "today,tomorrow,this afternoon,tonight|on saturday,this weekend,in the evening",
}

# Patterns of each intent: those below the line --- are used in dev and test only.
PATTERNS = """
lights_on
turn on the {lamp} in the {room}
switch the {room} {lamp} on
lights on in the {room}
can i have some light in the {room}
it is too dark in the {room}
i can not see a thing in the {room}
make the {room} bright
turn the {lamp} on
not the radio, the {lamp} in the {room}, switch it on
---
give me light in the {room}
somebody is coming home, light up the {room}
i am stumbling around in the {room} here
let there be light

lights_off
turn off the {lamp} in the {room}
switch the {room} {lamp} off
lights out in the {room}
nobody is in the {room}, no need for the {lamp}
i want to sleep, kill the {lamp}
turn the {lamp} off
the {lamp} in the {room} can go off
not the heating, the {lamp}, turn it off
---
make it dark in the {room}
why is the {lamp} in the {room} still burning
we are leaving, {lamp} off please
shut down the {lamp}

lights_dim
dim the {lamp} to {percent}
turn the {lamp} down a bit
make the {room} {lamp} less bright
set the {room} {lamp} to {percent}
the {lamp} in the {room} is too bright
brightness {percent} in the {room}
turn up the {lamp} to {percent}
---
that {lamp} is blinding me
softer light in the {room} please
bring the {lamp} down to {percent}
a little more light, but not full, in the {room}

lights_color
make the {room} {lamp} {color}
change the {lamp} to {color}
i want {color} light in the {room}
set the {lamp} color to {color}
turn the {room} {color}
---
paint the {room} {color} with the {lamp}
{color} please, for the {lamp}
could the {lamp} glow {color}

heating_set
set the heating to {degrees}
make it {degrees} in the {room}
turn the heating down in the {room}
turn up the heat
it is freezing in the {room}
warm up the {room} to {degrees}
i am cold
lower the temperature to {degrees}
not the volume, the heating, turn it down
---
my feet are like ice
we are sweating in the {room}
could the {room} be a bit cosier, say {degrees}
thermostat {degrees}

temperature_query
how warm is it in the {room}
what is the temperature in the {room}
what is the thermostat set to
is it above {degrees} in the {room}
tell me the temperature inside
---
did the {room} reach {degrees} yet
how cold did it get in the {room}
read me the thermostat

music_play
play {music}
put on {music} in the {room}
i want to hear {music}
start {music}
play something in the {room}
turn on {music}
---
how about {music}
the {room} needs a bit of {music}
can we listen to {music} while the lights are low

music_stop
stop the music
pause that
turn off {music}
quiet please
stop playing in the {room}
switch {music} off
---
i am on the phone, stop that song
silence in the {room}
enough of {music}

volume_set
turn it up
turn the volume down
volume to {percent}
louder please
make the music quieter in the {room}
turn {music} down a little
it is too loud in the {room}
---
i can hardly hear {music}
the neighbours will complain about {music}
bring the sound down to {percent}

timer_set
set a timer for {minutes}
remind me in {minutes}
start a countdown of {minutes}
{minutes} timer for the {dish}
tell me when {minutes} are over
---
the {dish} needs {minutes}
count down {minutes} from now
give me a shout in {minutes}

alarm_set
wake me at {time}
set an alarm for {time}
alarm at {time} {day}
i have to get up at {time}
make sure i am up by {time}
---
do not let me sleep past {time}
my train goes early, ring at {time}
get me out of bed at {time}

door_lock
lock the {door}
is the {door} locked, if not lock it
close up the {door} for the night
make sure the {door} is shut
we are off to bed, secure the {door}
---
bolt the {door}
nobody should come in through the {door}
did i forget the {door}, please lock

blinds_open
open the {blind} in the {room}
raise the {blind}
let some sun into the {room}
pull up the {room} {blind}
not the lights, the {blind}, open them
---
i want to look out of the window in the {room}
{blind} up
roll the {blind} up in the {room}

blinds_close
close the {blind} in the {room}
lower the {blind}
pull down the {room} {blind}
the sun is blinding me in the {room}
turn the {blind} down
---
people can look into the {room}
{blind} down please
keep the sun out of the {room}

vacuum_start
vacuum the {room}
start the robot in the {room}
clean the {room} floor
send the vacuum to the {room}
there are crumbs in the {room}
---
the dog lost half his coat in the {room}
the {room} carpet looks awful, do something
hoover the {room}

shopping_add
add {item} to the shopping list
we are out of {item}
put {item} on the list
i need to buy {item}
remind me to get {item}
---
the last {item} is gone
note {item} for the store
do not let me forget {item} at the market

weather_query
what is the weather {city} {day}
will it rain {day}
how warm is it {city} {day}
do i need an umbrella {day}
is it going to be sunny {day}
---
should i take a coat {day}
any snow {city} {day}
can we eat in the garden {day}

out_of_scope
who won the match yesterday
tell me a joke
what is the capital of norway
order a pizza with {item}
call my sister
how do i cook {dish}
book a table for {time}
what is 12 times 14
how many calories are in {item}
how old is that {lamp}
what does {color} paint cost
---
write an email to my boss about the {room}
is {music} any good
sell my {lamp}
translate {item} into french
when was the {door} invented
"""

OPENERS = ["", "", "", "", "please", "hey", "ok", "could you", "uh", "hi there", "um can you", "so"]
CLOSERS = ["", "", "", "", "please", "thanks", "now", "right away", "when you can", "ok?"]
DISTRACTIONS = [
    "the music is nice by the way",
    "i just came home",
    "no wait",
    "the lights are fine",
    "sorry, what was it",
    "never mind the heating",
    "my hands are full",
    "as always",
]
HEARD_WRONG = {
    "lights": "light's",
    "blinds": "blind's",
    "two": "to",
    "for": "four",
    "door": "dor",
    "heat": "heed",
    "turn": "torn",
    "play": "clay",
    "room": "rum",
    "lock": "look",
}


def read_patterns() -> dict[str, tuple[list[str], list[str]]]:
    """Per intent the patterns for all splits, and those held out of train."""
    intents = {}
    for block in PATTERNS.strip().split("\n\n"):
        name, *lines = block.splitlines()
        cut = lines.index("---")
        intents[name] = (lines[:cut], lines[cut + 1 :])
    return intents


def fill(pattern: str, rng: random.Random, *, held_out: bool) -> str:
    """Put a filler into every slot; held-out fillers only where allowed."""

    def choose(match: re.Match[str]) -> str:
        common, _, rare = FILLERS[match.group(1)].partition("|")
        return rng.choice(common.split(",") + (rare.split(",") if held_out else []))

    return re.sub(r"\{(\w+)\}", choose, pattern)


def disturb(text: str, rng: random.Random) -> str:
    """Say it as people do: with openers, asides, typing and hearing mistakes."""
    if rng.random() < 0.12:
        text = rng.choice([f"{rng.choice(DISTRACTIONS)}, {text}", f"{text}, {rng.choice(DISTRACTIONS)}"])
    text = f"{rng.choice(OPENERS)} {text} {rng.choice(CLOSERS)}".strip()
    if rng.random() < 0.10:
        text = " ".join(HEARD_WRONG.get(word, word) for word in text.split())
    if rng.random() < 0.18:
        place = rng.randrange(len(text) - 1)
        kind = rng.randrange(3)
        text = (
            text[:place]
            + {0: text[place + 1] + text[place], 1: text[place] * 2 + text[place + 1], 2: text[place + 1]}[kind]
            + text[place + 2 :]
        )
    return text.upper() if rng.random() < 0.03 else text.capitalize() if rng.random() < 0.3 else text


def generate() -> dict[str, list[dict[str, str]]]:
    """The three splits; no text stands in two of them."""
    rng = random.Random(SEED)
    intents = read_patterns()
    names = sorted(intents)
    seen: set[str] = set()
    splits: dict[str, list[dict[str, str]]] = {}
    for split, size in SIZES.items():
        rows = []
        while len(rows) < size:
            label = names[len(rows) % len(names)]
            common, rare = intents[label]
            held_out = split != "train"
            pattern = rng.choice(rare) if held_out and rng.random() < 0.4 else rng.choice(common)
            text = disturb(fill(pattern, rng, held_out=held_out), rng)
            if text.lower() in seen:
                continue
            seen.add(text.lower())
            wrong = split == "train" and rng.random() < LABEL_NOISE
            rows.append({"text": text, "label": rng.choice(names) if wrong else label})
        rng.shuffle(rows)
        splits[split] = rows
    return splits


def write(folder: Path) -> None:
    """Write train, dev and test as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in generate().items():
        (folder / f"{split}.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )


def check() -> None:
    """Print the accuracy of logistic regression on TF-IDF of words and word pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    splits = generate()
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000))
    model.fit([row["text"] for row in splits["train"]], [row["label"] for row in splits["train"]])
    for split in ("dev", "test"):
        print(
            split,
            round(model.score([row["text"] for row in splits[split]], [row["label"] for row in splits[split]]), 4),
        )


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        write(Path(__file__).parent / "intents")
