// node-postgres: every type, parameters, prepared statements, cursors, a pool, time limits, errors.
//
//   node check_node.js HOST PORT DATABASE EXPECTED [CHECK...]
//
// The forms of values are told in views.py.
"use strict";

const fs = require("fs");
const { Client, Pool, types } = require("pg");
const Cursor = require("pg-cursor");

const [host, port, database, path, ...named] = process.argv.slice(2);
const expected = JSON.parse(fs.readFileSync(path, "utf8"));
const address = { host, port: Number(port), database, user: process.env.PGUSER, password: process.env.PGPASSWORD || undefined };
const ENDLESS = "SELECT count(*) AS n FROM big AS a CROSS JOIN big AS b CROSS JOIN big AS c WHERE a.v + b.v + c.v < 0";

class Difference extends Error {}

// Dates lose microseconds: times are taken as the text that PostgreSQL sends, and dates, too.
for (const oid of [1082, 1114, 1184]) types.setTypeParser(oid, (text) => text);
const listOfText = types.getTypeParser(1009);
types.setTypeParser(1185, listOfText);

function same(found, wanted, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Difference(`${what}\n  found     ${a}\n  expected  ${b}`);
}

const base = (kind) => kind.replace(/\([^)]*\)/, "");

// An INTERVAL as months, days and microseconds, from its text or from node-postgres' object.
function span(value) {
  if (typeof value === "object") {
    const time = ((value.hours || 0) * 60 + (value.minutes || 0)) * 60 + (value.seconds || 0);
    const months = (value.years || 0) * 12 + (value.months || 0);
    return [months, value.days || 0, Math.round(time * 1e6 + (value.milliseconds || 0) * 1e3)];
  }
  const [, months, days, sign, hours, minutes, seconds] = value.match(/^(-?\d+) mons (-?\d+) days (-?)(\d+):(\d+):([\d.]+)$/);
  const micros = Math.round(((hours * 60 + Number(minutes)) * 60 + Number(seconds)) * 1e6);
  return [Number(months), Number(days), sign ? -micros : micros];
}

// A JSON value with the members of objects in the order of their names.
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
}

function floating(value) {
  if (typeof value === "string") value = Number(value);
  return Number.isNaN(value) ? "NaN" : Number.isFinite(value) ? value : value > 0 ? "Infinity" : "-Infinity";
}

// A value in the form in which it is compared.
function form(value, kind) {
  if (value === null) return null;
  if (kind.endsWith("[]")) return value.map((item) => form(item, kind.slice(0, -2)));
  switch (base(kind)) {
    case "real":
      return typeof floating(value) === "string" ? floating(value) : Math.fround(floating(value));
    case "double precision":
      return floating(value);
    case "bytea":
      return Buffer.isBuffer(value) ? "\\x" + value.toString("hex") : value;
    case "interval":
      return span(value);
    case "jsonb":
      return sorted(value);
    case "number":
      return Number(value).toPrecision(12);
    case "bigint":
      return String(value);
    default:
      return value;
  }
}

// OIDs of types, by which node-postgres reads values.
const OIDS = {
  boolean: 16, bytea: 17, bigint: 20, smallint: 21, integer: 23, text: 25, real: 700, "double precision": 701, date: 1082,
  "time without time zone": 1083, "timestamp without time zone": 1114, "timestamp with time zone": 1184, interval: 1186,
  numeric: 1700, uuid: 2950, jsonb: 3802, "text[]": 1009, "bigint[]": 1016, "timestamp with time zone[]": 1185,
};

function sameRows(found, wanted, columns, what) {
  wanted.slice(0, found.length).forEach((row, place) => {
    same(found[place].length, columns.length, `${what}: columns of row ${place}`);
    columns.forEach(([name, kind], at) => {
      same(form(found[place][at], kind), form(row[at], kind), `${what}: row ${place} (${row[0]}), column ${name}`);
    });
  });
  same(found.length, wanted.length, `${what}: rows`);
}

async function fails(promise, code, what) {
  const error = await promise.then(() => null, (raised) => raised);
  if (error === null) throw new Difference(`${what}\n  found     an answer\n  expected  an error with SQLSTATE ${code}`);
  same(error.code, code, `SQLSTATE of ${what}: ${error.message}`);
  return error;
}

async function connected(options, run) {
  const client = new Client({ ...address, ...options });
  await client.connect();
  try {
    await run(client);
  } finally {
    await client.end();
  }
}

function* whole() {
  for (const [name, view] of Object.entries(expected.views)) {
    if (view.rows) yield [view, `SELECT * FROM ${name} ORDER BY ${view.key.join(", ")}`, name];
  }
}

// Rows of all views as text, and by a prepared statement in binary where node-postgres reads that.
async function rows() {
  await connected({ application_name: "check_node" }, async (client) => {
    for (const [view, sql, name] of whole()) {
      const answer = await client.query({ text: sql, rowMode: "array" });
      same(answer.fields.map((field) => field.name), view.columns.map(([column]) => column), `columns of ${name}`);
      same(answer.fields.map((field) => field.dataTypeID), view.columns.map(([, kind]) => OIDS[base(kind)]), `types of ${name}`);
      sameRows(answer.rows, view.rows, view.columns, name);
    }
    const answer = await client.query({ text: "SELECT id, ok, small, n, d, name FROM every_type ORDER BY id", rowMode: "array", binary: true });
    const columns = expected.views.every_type.columns.filter(([name]) => ["id", "ok", "small", "n", "d", "name"].includes(name));
    const places = columns.map(([name]) => expected.views.every_type.columns.findIndex(([other]) => other === name));
    // It rounds a bigint in binary.
    const read = answer.rows.map((row, place) => [expected.views.every_type.rows[place][0], ...row.slice(1)]);
    sameRows(read, expected.views.every_type.rows.map((row) => places.map((at) => row[at])), columns, "every type in binary");
    same((await client.query("SHOW application_name")).rows, [{ application_name: "check_node" }], "application_name");
    same((await client.query("SELECT count(*), max(id) FROM big")).rows, [{ count: "20000", max: "19999" }], "names of columns");
  });
}

// Answers to the questions, by parameters and by named statements that are used again.
async function questions() {
  await connected({}, async (client) => {
    for (const [name, asked] of Object.entries(expected.answers)) {
      const values = asked.parameters.map(([, value]) => value);
      for (let turn = 0; turn < 3; turn++) {
        const answer = await client.query({ name: turn ? name : undefined, text: asked.sql, values, rowMode: "array" });
        same(answer.fields.map((field) => field.name), asked.columns.map(([column]) => column), `columns of ${name}`);
        sameRows(answer.rows, asked.rows, asked.columns, name);
      }
    }
  });
}

// Parameters of JavaScript's types.
async function parameters() {
  await connected({}, async (client) => {
    const one = async (sql, values) => Object.values((await client.query(sql, values)).rows[0])[0];
    // A whole constant is BIGINT to Herald, which comes as text.
    same(Number(await one("SELECT $1::int + 1", [41])), 42, "an integer");
    same(await one("SELECT $1::int", [41]), 41, "an INT");
    same(await one("SELECT $1::float8", [0.1]), 0.1, "a float");
    same(await one("SELECT $1::text", ["é'\\"]), "é'\\", "a text");
    same(await one("SELECT $1::boolean", [true]), true, "a boolean");
    same(await one("SELECT $1::text IS NULL", [null]), true, "NULL");
    same(await one("SELECT $1::timestamptz", [new Date(Date.UTC(2026, 0, 5, 10, 0, 0, 250))]), "2026-01-05 10:00:00.25+00", "a Date");
    same((await one("SELECT $1::bytea", [Buffer.from([0, 255])])).toString("hex"), "00ff", "a Buffer");
    same(await one("SELECT $1::jsonb", [{ a: [1, null] }]), { a: [1, null] }, "an object");
    same(await one("SELECT $1::text[]", [["a b", null, 'c"']]), ["a b", null, 'c"'], "a list");
    same(await one("SELECT count(*) FROM big WHERE id = ANY($1)", [[1, 2, 3]]), "3", "ANY of a list");
    await fails(client.query("SELECT id FROM big WHERE id = $1", ["x"]), "22P02", "a bigint that is none");
  });
}

// Cursors that are read by portions, and closed in the midst.
async function cursors() {
  await connected({}, async (client) => {
    const big = expected.views.big;
    const cursor = client.query(new Cursor("SELECT * FROM big WHERE id >= $1 ORDER BY id", [0], { rowMode: "array" }));
    const found = [];
    for (;;) {
      const portion = await cursor.read(777);
      if (portion.length === 0) break;
      found.push(...portion);
    }
    sameRows(found, big.rows, big.columns, "a cursor");
    await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const first = client.query(new Cursor("SELECT id FROM big ORDER BY id"));
    same((await first.read(2)).map((row) => row.id), ["0", "1"], "a first portion");
    await first.close();
    same((await client.query("SELECT 'one' AS one")).rows, [{ one: "one" }], "after a cursor that was closed");
    await client.query("COMMIT");
  });
}

// Connections of a pool, many questions at once.
async function pools() {
  const pool = new Pool({ ...address, max: 4 });
  const asked = Array.from({ length: 40 }, (_, n) => pool.query("SELECT v FROM big WHERE id = $1", [n]));
  const found = (await Promise.all(asked)).map((answer) => answer.rows[0].v);
  same(found, expected.views.big.rows.slice(0, 40).map((row) => row[2]), "answers of a pool");
  await pool.end();
}

async function transactions() {
  await connected({}, async (client) => {
    const total = async () => (await client.query("SELECT sum(n) AS n FROM ticks")).rows[0].n;
    await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    const first = await total();
    await new Promise((resolve) => setTimeout(resolve, 500));
    same(await total(), first, "one epoch for a transaction");
    await client.query("COMMIT");
    for (let turn = 0; (await total()) === first; turn++) {
      if (turn > 600) throw new Difference("ticks does not change");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
}

async function errors() {
  await connected({}, async (client) => {
    for (const values of [undefined, []]) {
      await fails(client.query("SELECT * FROM nothing", values), "42P01", "a view that is not there");
      await fails(client.query("SELECT FROM WHERE", values), "42601", "a mistake in the grammar");
      await fails(client.query("DELETE FROM totals", values), "25006", "DELETE");
      const error = await fails(client.query("SELECT player,\n nothing FROM totals", values), "42703", "a column");
      same([error.position, error.severity], ["17", "ERROR"], "the place of a mistake");
    }
    await client.query("BEGIN");
    await fails(client.query("SELECT 1 / 0"), "22012", "a division by zero");
    await fails(client.query("SELECT 1"), "25P02", "a failed transaction");
    await client.query("ROLLBACK");
    const several = await client.query("SELECT 'x' AS a; SELECT 'y' AS b");
    same(several.map((answer) => answer.rows), [[{ a: "x" }], [{ b: "y" }]], "several statements");
    same((await client.query("")).rows, [], "an empty query");
  });
  await connected({ statement_timeout: 400 }, async (client) => {
    await fails(client.query(ENDLESS), "57014", "statement_timeout");
    same((await client.query("SELECT 'one' AS one")).rows, [{ one: "one" }], "after a time limit");
  });
}

async function main() {
  for (const check of [rows, questions, parameters, cursors, pools, transactions, errors]) {
    if (named.length > 0 && !named.includes(check.name)) continue;
    try {
      await check();
    } catch (error) {
      console.error(`${check.name}: ${error instanceof Difference ? error.message : error.stack}`);
      process.exit(1);
    }
  }
}

main();
