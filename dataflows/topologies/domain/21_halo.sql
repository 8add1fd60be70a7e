-- Halo Infinite: match stats, match history and skill, as the API returns them, as rows of the match
-- model (10_model.sql stands before this file).
--
-- A record of halo.match is the answer to /hi/matches/{id}/stats; its timestamp is when it was
-- fetched, and of two captures of one match the one fetched last counts. A record of halo.skill is
-- the answer to /hi/matches/{id}/skill, which does not name the match: its key does.

CREATE TYPE halo_award AS (NameId BIGINT, "Count" BIGINT, TotalPersonalScoreAwarded BIGINT);

CREATE TYPE halo_stats AS (
  CoreStats STRUCT<
    Score BIGINT,
    PersonalScore BIGINT,
    Kills BIGINT,
    Deaths BIGINT,
    Assists BIGINT,
    MaxKillingSpree BIGINT,
    ShotsFired BIGINT,
    ShotsHit BIGINT,
    DamageDealt DOUBLE,
    DamageTaken DOUBLE,
    Medals halo_award[],
    PersonalScores halo_award[]
  >
);

CREATE TABLE halo_captures (
  MatchId VARCHAR NOT NULL,
  MatchInfo STRUCT<
    StartTime TIMESTAMPTZ,
    EndTime TIMESTAMPTZ,
    Duration INTERVAL,
    PlayableDuration INTERVAL,
    LifecycleMode INT,
    GameVariantCategory INT,
    MapVariant STRUCT<AssetId VARCHAR>,
    Playlist STRUCT<AssetId VARCHAR>,
    SeasonId VARCHAR,
    TeamsEnabled BOOLEAN
  >,
  Teams STRUCT<TeamId INT, Outcome INT, "Rank" INT, Stats halo_stats>[],
  Players STRUCT<
    PlayerId VARCHAR,
    PlayerType INT,
    LastTeamId INT,
    Outcome INT,
    "Rank" INT,
    ParticipationInfo STRUCT<
      LeftInProgress BOOLEAN,
      PresentAtCompletion BOOLEAN,
      TimePlayed INTERVAL
    >,
    PlayerTeamStats STRUCT<TeamId INT, Stats halo_stats>[]
  >[],
  started_at TIMESTAMPTZ NOT NULL AS (matchinfo['starttime']),
  ended_at TIMESTAMPTZ NOT NULL AS (matchinfo['endtime']),
  -- PlayableDuration is the longest TimePlayed of the players; Duration is up to half a minute longer than anybody
  -- played. Of 19 captures one has a player who played longer than PlayableDuration.
  duration_s DOUBLE NOT NULL AS (
    extract(epoch FROM coalesce(matchinfo['playableduration'], matchinfo['duration']))
  ),
  PRIMARY KEY (matchid),
  CONSTRAINT has_players CHECK (coalesce(cardinality(players), 0) BETWEEN 1 AND 64),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 86400),
  CONSTRAINT ends_after_start CHECK (ended_at >= started_at),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'halo.match',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'players[].playerid',
  erase.by = 'players[].playerid'
)
FORMAT PLAIN ENCODE JSON;

-- Matches in the words of the model, with their players and teams as Halo has them.
CREATE VIEW halo_matches AS
  SELECT
    matchid AS match_id,
    CASE
      WHEN array_any_match(players, p -> p['participationinfo']['presentatcompletion'])
        THEN 'completed'
      ELSE 'aborted'
    END AS status,
    CASE
      WHEN matchinfo['lifecyclemode'] = 3 THEN matchinfo['playlist']['assetid']
      ELSE 'custom'
    END AS queue,
    CASE matchinfo['gamevariantcategory']
      WHEN 6 THEN 'slayer'
      WHEN 7 THEN 'attrition'
      WHEN 8 THEN 'elimination'
      WHEN 9 THEN 'fiesta'
      WHEN 11 THEN 'strongholds'
      WHEN 12 THEN 'king of the hill'
      WHEN 14 THEN 'total control'
      WHEN 15 THEN 'capture the flag'
      WHEN 17 THEN 'extraction'
      WHEN 18 THEN 'oddball'
      WHEN 19 THEN 'stockpile'
      WHEN 22 THEN 'infection'
      WHEN 23 THEN 'vip'
      WHEN 42 THEN 'firefight'
      ELSE 'category ' || CAST(matchinfo['gamevariantcategory'] AS VARCHAR)
    END AS mode,
    matchinfo['mapvariant']['assetid'] AS map,
    matchinfo['teamsenabled'] AS in_teams,
    started_at,
    ended_at,
    duration_s,
    fetched_at,
    players,
    teams
  FROM halo_captures;

INSERT INTO matches (
  game,
  match_id,
  status,
  queue,
  mode,
  map,
  started_at,
  ended_at,
  duration_s,
  fetched_at
)
  SELECT 'halo', match_id, status, queue, mode, map, started_at, ended_at, duration_s, fetched_at
  FROM halo_matches;

-- A player who was on two teams has stats with each: they are one player's. Damage of a team is that of the players
-- who ended in it.
CREATE VIEW halo_players AS
  SELECT
    m.match_id,
    m.status,
    m.queue,
    m.mode,
    m.map,
    m.ended_at,
    m.duration_s,
    CAST(p.ordinality AS INT) AS slot,
    CASE WHEN p.playertype = 1 THEN nullif(p.playerid, '') END AS player_id,
    p.playertype <> 1 AS is_bot,
    CASE WHEN m.in_teams THEN p.lastteamid END AS team_id,
    p.outcome,
    p."Rank" AS placement,
    p.participationinfo AS participation,
    array_transform(p.playerteamstats, t -> t['stats']['corestats']) AS stats,
    array_filter(m.players, o -> NOT m.in_teams OR o['lastteamid'] = p.lastteamid) AS team
  FROM halo_matches AS m, UNNEST(m.players) WITH ORDINALITY AS p;

INSERT INTO teams
  SELECT
    'halo',
    m.match_id,
    t.teamid,
    CASE t.outcome WHEN 1 THEN 'tie' WHEN 2 THEN 'win' WHEN 3 THEN 'loss' ELSE 'unfinished' END,
    t.stats['corestats']['score'],
    t.stats['corestats']['kills']
  FROM halo_matches AS m, UNNEST(m.teams) AS t;

INSERT INTO participants (
  game,
  match_id,
  status,
  queue,
  mode,
  map,
  ended_at,
  duration_s,
  slot,
  player_id,
  is_bot,
  team_id,
  outcome,
  placement,
  kills,
  deaths,
  assists,
  assist_weight,
  best_spree,
  score,
  damage,
  team_damage,
  team_size,
  damage_taken,
  shots_fired,
  shots_hit,
  played_s,
  left_early
)
  SELECT
    'halo',
    match_id,
    status,
    queue,
    mode,
    map,
    ended_at,
    duration_s,
    slot,
    player_id,
    is_bot,
    team_id,
    CASE outcome WHEN 1 THEN 'tie' WHEN 2 THEN 'win' WHEN 3 THEN 'loss' ELSE 'unfinished' END,
    placement,
    CAST(array_sum(array_transform(stats, s -> s['kills'])) AS BIGINT),
    CAST(array_sum(array_transform(stats, s -> s['deaths'])) AS BIGINT),
    CAST(array_sum(array_transform(stats, s -> s['assists'])) AS BIGINT),
    1.0 / 3.0,
    array_max(array_transform(stats, s -> s['maxkillingspree'])),
    CAST(array_sum(array_transform(stats, s -> s['personalscore'])) AS BIGINT),
    array_sum(array_transform(stats, s -> s['damagedealt'])),
    array_sum(
      array_transform(
        team,
        o -> array_sum(
          array_transform(o['playerteamstats'], t -> t['stats']['corestats']['damagedealt'])
        )
      )
    ),
    cardinality(team),
    array_sum(array_transform(stats, s -> s['damagetaken'])),
    CAST(array_sum(array_transform(stats, s -> s['shotsfired'])) AS BIGINT),
    CAST(array_sum(array_transform(stats, s -> s['shotshit'])) AS BIGINT),
    extract(epoch FROM participation['timeplayed']),
    participation['leftinprogress']
  FROM halo_players;

INSERT INTO awards
  SELECT
    'halo',
    p.match_id,
    p.slot,
    p.player_id,
    'medal',
    a.nameid,
    sum(a."Count"),
    sum(a.totalpersonalscoreawarded)
  FROM halo_players AS p, UNNEST(flatten(array_transform(p.stats, s -> s['medals']))) AS a
  WHERE NOT p.is_bot
  GROUP BY p.match_id, p.slot, p.player_id, a.nameid;

INSERT INTO awards
  SELECT
    'halo',
    p.match_id,
    p.slot,
    p.player_id,
    'personal score',
    a.nameid,
    sum(a."Count"),
    sum(a.totalpersonalscoreawarded)
  FROM halo_players AS p, UNNEST(flatten(array_transform(p.stats, s -> s['personalscores']))) AS a
  WHERE NOT p.is_bot
  GROUP BY p.match_id, p.slot, p.player_id, a.nameid;

-- Skill: what the matchmaker expected of a player, and the ranked rating before and after.
CREATE TYPE halo_rating AS ("Value" DOUBLE, Tier VARCHAR, SubTier INT);

CREATE TYPE halo_expected AS ("Count" BIGINT, Expected DOUBLE, StdDev DOUBLE);

CREATE TABLE halo_skills (
  match_id VARCHAR NOT NULL,
  "Value" STRUCT<
    Id VARCHAR,
    ResultCode INT,
    Result STRUCT<
      TeamMmr DOUBLE,
      RankRecap STRUCT<PreMatchCsr halo_rating, PostMatchCsr halo_rating>,
      StatPerformances STRUCT<Kills halo_expected, Deaths halo_expected>
    >
  >[],
  PRIMARY KEY (match_id)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'halo.skill',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'Value[].id',
  erase.by = 'Value[].id'
)
FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;

-- A player who is not known has a ResultCode other than 0 and no Result.
INSERT INTO skills
  SELECT
    'halo',
    s.match_id,
    v.id,
    v.result['teammmr'],
    v.result['rankrecap']['prematchcsr']['Value'],
    v.result['rankrecap']['postmatchcsr']['Value'],
    v.result['rankrecap']['prematchcsr']['tier'],
    v.result['rankrecap']['postmatchcsr']['tier'],
    v.result['statperformances']['kills']['Count'],
    v.result['statperformances']['kills']['expected'],
    v.result['statperformances']['kills']['stddev'],
    v.result['statperformances']['deaths']['Count'],
    v.result['statperformances']['deaths']['expected'],
    v.result['statperformances']['deaths']['stddev']
  FROM halo_skills AS s, UNNEST(s."Value") AS v
  WHERE v.resultcode = 0;

-- A rating after a match is a rank from the end of that match on.
INSERT INTO ranks
  SELECT
    'halo',
    v.id,
    'all',
    true,
    v.result['rankrecap']['postmatchcsr']['tier'],
    CAST(v.result['rankrecap']['postmatchcsr']['subtier'] + 1 AS VARCHAR),
    v.result['rankrecap']['postmatchcsr']['Value'],
    NULL,
    NULL,
    s.ended_at
  FROM (
    SELECT k."Value" AS players, c.ended_at
    FROM halo_skills AS k JOIN halo_captures AS c ON k.match_id = c.matchid
  ) AS s,
    UNNEST(s.players) AS v
  WHERE v.resultcode = 0 AND v.result['rankrecap']['postmatchcsr']['tier'] <> '';

-- Names of players: match stats have ids alone. The timestamp is when the name was asked for.
CREATE TABLE halo_profiles (
  xuid VARCHAR NOT NULL,
  gamertag VARCHAR NOT NULL,
  PRIMARY KEY (xuid)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'halo.profile',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'xuid, gamertag',
  erase.by = 'xuid'
)
FORMAT PLAIN ENCODE JSON;

INSERT INTO names
  SELECT 'halo', xuid, gamertag, fetched_at
  FROM halo_profiles;

-- A page of a player's match history names matches before their stats are fetched.
CREATE SOURCE halo_history (
  Results STRUCT<
    MatchId VARCHAR,
    MatchInfo STRUCT<StartTime TIMESTAMPTZ, EndTime TIMESTAMPTZ>,
    Outcome INT,
    "Rank" INT,
    PresentAtEndOfMatch BOOLEAN
  >[],
  CONSTRAINT is_a_page CHECK (results IS NOT NULL)
)
WITH (
  connector = 'kafka',
  topic = 'halo.history',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

-- Matches that a history names and whose stats have not come: work for the collector.
CREATE MATERIALIZED VIEW halo_missing_matches AS
  SELECT DISTINCT r.matchid AS match_id, r.matchinfo['endtime'] AS ended_at
  FROM halo_history AS h, UNNEST(h.results) AS r
  WHERE NOT EXISTS (SELECT 1 FROM halo_captures AS c WHERE c.matchid = r.matchid);
