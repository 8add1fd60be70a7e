"""dbt: connection, tests of sources, freshness, documentation and a query, by a project whose sources are views."""

import json
import os
import shutil
import subprocess
import tempfile

from views import Difference, base, run, same, same_value

PROJECT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "dbt")
DBT = [
    os.path.join(os.environ.get("HERALD_CLIENTS_DBT", ""), "bin", "python"),
    "-m",
    "dbt.cli.main",
    "--no-version-check",
]
FOLDER = tempfile.TemporaryDirectory()


class Project:
    """A copy of the project, which all checks share: dbt keeps there what it has read."""

    def __init__(self, expected):
        folder = FOLDER.name
        self.folder = os.path.join(folder, "project")
        shutil.copytree(PROJECT, self.folder, dirs_exist_ok=True)
        self.environment = {
            **os.environ,
            "VIEWS_HOST": expected.host,
            "VIEWS_PORT": str(expected.port),
            "VIEWS_DATABASE": expected.database,
            "HOME": folder,
            "DBT_PROFILES_DIR": self.folder,
            "DO_NOT_TRACK": "1",
        }

    def dbt(self, *arguments):
        """What dbt says to a command that has to succeed."""
        ran = subprocess.run(
            [*DBT, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if ran.returncode != 0:
            raise Difference(
                f"dbt {' '.join(arguments)} ended with {ran.returncode}\n{ran.stdout[-3000:]}{ran.stderr[-1000:]}"
            )
        return ran.stdout

    def written(self, name):
        """A file that the last command wrote."""
        with open(os.path.join(self.folder, "target", name), encoding="utf-8") as file:
            return json.load(file)


def of_project(check):
    """A check with a project."""

    def with_project(expected):
        check(expected, Project(expected))

    with_project.__name__ = check.__name__
    return with_project


def debug(expected, project):
    same("All checks passed" in project.dbt("debug"), True, "dbt debug")


def tests(expected, project):
    """Tests of columns and of a query; one of them finds a row and is a warning."""
    project.dbt("test")
    found = {
        result["unique_id"].split(".")[2]: (result["status"], result["failures"])
        for result in project.written("run_results.json")["results"]
    }
    wanted = dict.fromkeys(found, ("pass", 0)) | {"source_not_null_views_totals_points": ("warn", 1)}
    same(found, wanted, "results of dbt test")
    same(len(found), 13, "number of tests")


def freshness(expected, project):
    project.dbt("source", "freshness")
    (result,) = project.written("sources.json")["results"]
    same(result["status"], "warn", "status of the freshness")
    latest = max(row[3] for row in expected.views["totals"]["rows"])
    loaded = result["max_loaded_at"].replace("T", " ").replace("+00:00", "+00").replace("Z", "+00")
    same_value(loaded, latest, "timestamp with time zone", "max_loaded_at")


def documentation(expected, project):
    """The catalogue that documentation is made of."""
    project.dbt("docs", "generate")
    catalog = project.written("catalog.json")
    same(catalog["errors"], None, "errors of dbt docs generate")
    kind = "MATERIALIZED VIEW" if expected.shape["kind"] == "m" else "BASE TABLE"
    for view in ("totals", "big", "every_type"):
        source = catalog["sources"][f"source.views.views.{view}"]
        same((source["metadata"]["type"], source["metadata"]["schema"]), (kind, "public"), f"type of {view}")
        columns = sorted(source["columns"].values(), key=lambda column: column["index"])
        found = [(column["name"], base(column["type"])) for column in columns]
        same(found, [(name, base(kind)) for name, kind in expected.views[view]["columns"]], f"columns of {view}")


def show(expected, project):
    said = project.dbt(
        "--log-format",
        "json",
        "show",
        "--output",
        "json",
        "--limit",
        "3",
        "--inline",
        "select player, wins from {{ source('views', 'totals') }} order by wins desc, player",
    )
    wanted = [[player, int(wins)] for player, wins in expected.answers["best"]["rows"][:3]]
    preview = [
        json.loads(line)["data"]["preview"] for line in said.splitlines() if "preview" in json.loads(line)["data"]
    ]
    same([list(row.values()) for row in json.loads(preview[0])], wanted, "rows of dbt show")


run([of_project(check) for check in (debug, tests, freshness, documentation, show)])
