#!/usr/bin/env python3
"""Draws the pictures of the match domain's documentation.

    scripts/domain_docs.py HERALD plans | results DIR | season DIR

`plans` draws, for each page of docs/domain, the views of its theme with all that they are computed from, out of
`herald explain --format json`. `results` draws what the views hold over the captured matches: DIR has one JSON-Lines file
a view. The captures hold no users, ranks of players or live matches: `season` draws these pages over a synthetic season,
tests/domain/season.py SEASON --seed 1 --matches 4000 --days 3, then tests/domain/answers.py SEASON DIR --moment 9.
Pictures are written beside the pages, PAGE.plan.svg and PAGE.svg; the same input gives the same bytes.
"""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = ROOT / "dataflows/topologies/domain"
PAGES = ROOT / "docs/domain"

# Page: the views of its theme, and the charts of its results: title, view, label of a row, value, condition.
THEMES = {
    "players": (
        ["player_performance", "performance_hourly", "performance_daily", "performance_alltime"],
        [("Kills a game by role, League of Legends", "performance_alltime", "value", ("kills", "games"),
          {"dimension": "role"}),
         ("Gold a minute by champion, the first ten", "performance_alltime", "value", "gold_per_min",
          {"dimension": "champion"})],
    ),
    "champions": (
        ["champion_performance", "champion_win_rates", "champion_rates", "duos", "champion_duos", "match_ups"],
        [("kda by champion, the first ten", "champion_performance", "champion", "kda", {})],
    ),
    "analytics": (
        ["gaming_analytics", "user_analytics", "user_across_games"],
        [("Matches a player's hour by mode", "gaming_analytics", "mode", "games", {})],
    ),
    "maps": (
        ["mv_map_stats", "mv_mode_category_stats", "mv_session_stats", "mv_global_stats", "player_aliases",
         "xuid_aliases", "player_awards", "recent_matches", "match_archive"],
        [("Mean duration by mode, seconds", "mv_mode_category_stats", "mode", "duration_s", {}),
         ("kda by mode", "mv_mode_category_stats", "mode", "kda", {})],
    ),
    "people": (["profile_conflicts", "user_ids", "sign_ins_hourly", "user_sessions"],
               [("Attempts an hour by method, of hours with any", "sign_ins_hourly", "method", "attempts", {}),
                ("Sessions by device", "user_sessions", "device", "count", {})]),
    "ranks": (["ranking_history", "rank_periods", "rank_moves"],
              [("Moves by the tier reached, League of Legends", "rank_moves", "tier", "count", {"game": "lol"}),
               ("Moves by the tier reached, Halo Infinite", "rank_moves", "tier", "count", {"game": "halo"})]),
    "live": (["live_matches", "live_players"],
             [("Matches being played by mode", "live_matches", "mode", "count", {}),
              ("Players in them by game", "live_players", "game", "count", {})]),
    "timelines": (["timeline_marks", "first_objectives", "objective_win_rates", "skill_performance", "player_skill"],
                  [("Gold at 10 minutes by role", "timeline_marks", "role", "gold_at_10", {}),
                   ("First objectives, seconds into the match", "objective_win_rates", "objective", "at_s", {})]),
    "insights": (["trends_detected", "anomalies_detected", "form_models", "predictions", "prediction_errors",
                  "recommendations"],
                 [("Mean absolute error of the prediction, and of the two baselines", "prediction_errors", "game",
                   ["model_mae", "last_mae", "mean_mae"], {})]),
}

# Pages whose views are empty over the captures.
OF_A_SEASON = {"people", "ranks", "live"}

STYLE = """<style>
text{font:12px sans-serif;fill:#1f2328}.s{fill:#ddf4ff;stroke:#0969da}.k{fill:#fff8c5;stroke:#9a6700}
.v{fill:#dafbe1;stroke:#1a7f37}.n{fill:#f6f8fa;stroke:#8c959f}.e{stroke:#8c959f;fill:none}.b{fill:#0969da}
.b1{fill:#8c959f}.b2{fill:#bf8700}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#0c2d6b}.k{fill:#4b2900}.v{fill:#033a16}.n{fill:#21262d}}
</style>"""


def explain(herald):
    """The plan of the whole domain, as `herald explain` tells it."""
    files = sorted(str(path) for path in DOMAIN.glob("*.sql"))
    told = subprocess.run([herald, "explain", *files, "--format", "json"], check=True, capture_output=True)
    return json.loads(told.stdout)


def graph(plan):
    """Names of views and sources, those below each, and which keep state."""
    relations = {r["id"]: r for r in plan["relations"]}
    below, keeps, sources = {}, set(), set()
    for relation in plan["relations"]:
        name = relation["view"]
        below.setdefault(name, set())
        if relation["state"]:
            keeps.add(name)
        if relation["operator"] in ("Table", "Source"):
            sources.add(name)
        for at in relation["inputs"]:
            if relations[at]["view"] != name:
                below[name].add(relations[at]["view"])
    return below, keeps, sources


def text(x, y, words, anchor="start"):
    """An SVG text."""
    words = str(words).replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'


def draw_plan(views, below, keeps, sources):
    """A picture of the views and of all they are computed from, sources at the left."""
    wanted, todo = set(), list(views)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += below.get(name, ())
    depth = {}

    def depth_of(name):
        if name not in depth:
            depth[name] = 1 + max((depth_of(other) for other in below.get(name, ())), default=-1)
        return depth[name]

    columns = {}
    for name in sorted(wanted):
        columns.setdefault(depth_of(name), []).append(name)
    place, width, row = {}, 190, 30
    height = max(len(names) for names in columns.values()) * row + 40
    for at, names in columns.items():
        top = (height - 30 - len(names) * row) / 2
        for n, name in enumerate(names):
            place[name] = (10 + at * width, round(top + n * row + 8))
    parts = []
    for name in sorted(wanted):
        for other in sorted(below.get(name, ())):
            (x1, y1), (x2, y2) = place[other], place[name]
            x1, y1, y2 = x1 + 160, y1 + 11, y2 + 11
            middle = (x1 + x2) / 2
            parts.append(f'<path class="e" d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"/>')
    for name, (x, y) in sorted(place.items()):
        kind = "s" if name in sources else "v" if name in views else "k" if name in keeps else "n"
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="160" height="22" rx="4"/>')
        parts.append(text(x + 80, y + 15, name if len(name) < 26 else name[:24] + "…", "middle"))
    legend = [("s", "source or table"), ("k", "view that keeps state"), ("n", "view without state"),
              ("v", "served view")]
    for n, (kind, words) in enumerate(legend):
        x, y = 10 + n * 170, height - 20
        label = text(x + 20, y + 11, words)
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="14" height="14" rx="3"/>' + label)
    total = max(10 + (max(columns) + 1) * width, 690)
    return svg(total, height, parts)


def svg(width, height, parts):
    """The file around the parts."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join([head, STYLE, *parts, "</svg>", ""])


def chart_rows(rows, label, value, condition):
    """Rows of a chart: label and values, the greatest first, ten at most; rows of one label are averaged or counted."""
    groups = {}
    for row in rows:
        if any(row[name] != wanted for name, wanted in condition.items()) or row[label] is None:
            continue
        if value == "count":
            values = [1]
        elif isinstance(value, tuple):
            values = [None if row[value[0]] is None else row[value[0]] / row[value[1]]]
        else:
            values = [row[name] for name in (value if isinstance(value, list) else [value])]
        if all(v is not None for v in values):
            groups.setdefault(str(row[label]), []).append(values)
    many_of = lambda many: [len(many)] if value == "count" else [sum(v) / len(v) for v in zip(*many)]
    averaged = [(name, many_of(many)) for name, many in groups.items()]
    return sorted(averaged, key=lambda pair: (-pair[1][0], pair[0]))[:10]


def draw_charts(charts, results):
    """Bar charts, one below the other."""
    parts, y = [], 10
    for title, view, label, value, condition in charts:
        path = results / f"{view}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        rows = chart_rows(rows, label, value, condition)
        if not rows:
            continue
        greatest = max(max(values) for _, values in rows) or 1
        parts.append(text(10, y + 12, title))
        y += 22
        for name, values in rows:
            for n, number in enumerate(values):
                if n == 0:
                    parts.append(text(170, y + 12, name, "end"))
                length = round(400 * number / greatest)
                kind = "b" if n == 0 else f"b{n}"
                parts.append(f'<rect class="{kind}" x="180" y="{y}" width="{length}" height="15"/>')
                told = str(number) if value == "count" else f"{number:.2f}"
                words = told + (f" {value[n]}" if isinstance(value, list) else "")
                parts.append(text(186 + length, y + 12, words))
                y += 19
        y += 16
    return svg(700, y + 4, parts)


def main():
    herald, what = sys.argv[1], sys.argv[2]
    if what == "plans":
        below, keeps, sources = graph(explain(herald))
        for page, (views, _) in THEMES.items():
            (PAGES / f"{page}.plan.svg").write_text(draw_plan(views, below, keeps, sources))
    elif what in ("results", "season"):
        for page, (_, charts) in THEMES.items():
            if (page in OF_A_SEASON) != (what == "season"):
                continue
            (PAGES / f"{page}.svg").write_text(draw_charts(charts, Path(sys.argv[3])))
    else:
        sys.exit(__doc__)


main()
