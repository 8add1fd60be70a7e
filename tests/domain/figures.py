"""Figures of the predictions over a season, as docs/domain/insights.md has them.

    figures.py [--seed 1] [--matches 20000]

Makes the season without orders to erase (`season.py --erasures 0`), computes the views with DuckDB, and prints the errors of
the model and of the two baselines by game, as a table in Markdown.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import answers

GAMES = {"lol": "League of Legends", "halo": "Halo Infinite"}
ERRORS = """
    SELECT game, model_mae, last_mae, mean_mae, model_rmse, last_rmse, mean_rmse FROM prediction_errors ORDER BY game = 'halo'"""
HEAD = """\
| | model, mean absolute error | same as last time | the player's mean | model, root mean square | same as last time | the player's mean |
| --- | --- | --- | --- | --- | --- | --- |"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--matches", default="20000")
    args = parser.parse_args()
    maker = pathlib.Path(__file__).with_name("season.py")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(maker), folder, "--seed", args.seed, "--matches", args.matches, "--erasures", "0"], check=True)
        mine = answers.Answers(answers.ingest_until(folder))
    count, fitted = mine.db.execute("""
        SELECT count(*), count(*) FILTER ((game, date_trunc('week', ended_at)::TIMESTAMP) IN (SELECT (game, week) FROM form_models WHERE n >= 100))
        FROM predictions""").fetchone()
    print(f"{count:,} predictions, {fitted:,} of them by a line\n\n{HEAD}")
    for game, *errors in mine.db.execute(ERRORS).fetchall():
        print(f"| {GAMES[game]} | " + " | ".join(f"{error:.2f}" for error in errors) + " |")


if __name__ == "__main__":
    main()
