-- League of Legends: Riot's match-v5, match timelines and league entries, as the API returns them,
-- as rows of the match model (10_model.sql stands before this file).
--
-- A record of riot.match is the body of a match-v5 answer, or its `info` object alone, as some
-- archives keep it; its timestamp is when it was fetched. Of two captures of one match the one
-- fetched last counts. Nothing else tells when it was fetched, so the topic must refuse a clock ahead:
-- message.timestamp.after.max.ms in topics.sql. Names of fields fit columns without regard to case, as patches
-- change it.
-- Formats: https://developer.riotgames.com/apis#match-v5

CREATE TYPE riot_player AS (
  participantId INT,
  puuid VARCHAR,
  riotIdGameName VARCHAR,
  riotIdName VARCHAR,
  riotIdTagline VARCHAR,
  summonerName VARCHAR,
  championId INT,
  championName VARCHAR,
  champLevel INT,
  teamId INT,
  playerSubteamId INT,
  placement INT,
  subteamPlacement INT,
  teamPosition VARCHAR,
  win BOOLEAN,
  gameEndedInEarlySurrender BOOLEAN,
  gameEndedInSurrender BOOLEAN,
  timePlayed DOUBLE,
  kills BIGINT,
  deaths BIGINT,
  assists BIGINT,
  largestKillingSpree BIGINT,
  doubleKills BIGINT,
  tripleKills BIGINT,
  quadraKills BIGINT,
  pentaKills BIGINT,
  firstBloodKill BOOLEAN,
  totalMinionsKilled BIGINT,
  neutralMinionsKilled BIGINT,
  goldEarned BIGINT,
  totalDamageDealtToChampions DOUBLE,
  totalDamageTaken DOUBLE,
  visionScore DOUBLE
);

CREATE TYPE riot_objective AS (first BOOLEAN, kills BIGINT);

CREATE TYPE riot_team AS (
  teamId INT,
  win BOOLEAN,
  bans STRUCT<championId INT, pickTurn INT>[],
  objectives STRUCT<
    baron riot_objective,
    champion riot_objective,
    dragon riot_objective,
    inhibitor riot_objective,
    riftHerald riot_objective,
    tower riot_objective
  >
);

CREATE TABLE riot_captures (
  metadata STRUCT<matchId VARCHAR>,
  info STRUCT<
    platformId VARCHAR,
    gameId BIGINT,
    gameMode VARCHAR,
    queueId INT,
    mapId INT,
    gameVersion VARCHAR,
    gameStartTimestamp BIGINT,
    gameEndTimestamp BIGINT,
    gameDuration DOUBLE,
    endOfGameResult VARCHAR,
    participants riot_player[],
    teams riot_team[]
  >,
  -- The same fields of a bare info object.
  platformId VARCHAR,
  gameId BIGINT,
  gameMode VARCHAR,
  queueId INT,
  mapId INT,
  gameVersion VARCHAR,
  gameStartTimestamp BIGINT,
  gameEndTimestamp BIGINT,
  gameDuration DOUBLE,
  endOfGameResult VARCHAR,
  participants riot_player[],
  teams riot_team[],
  match_id VARCHAR NOT NULL AS (
    coalesce(
      nullif(metadata['matchid'], ''),
      coalesce(info['platformid'], platformid) || '_' || CAST(
        coalesce(info['gameid'], gameid) AS VARCHAR
      )
    )
  ),
  started_at TIMESTAMPTZ NOT NULL AS (
    to_timestamp_millis(coalesce(info['gamestarttimestamp'], gamestarttimestamp))
  ),
  -- Before patch 11.20 there is no end, and the duration counts milliseconds; after it, seconds.
  duration_s DOUBLE NOT NULL AS (
    CASE
      WHEN coalesce(info['gameendtimestamp'], gameendtimestamp) IS NULL
        THEN coalesce(info['gameduration'], gameduration) / 1000.0
      ELSE coalesce(info['gameduration'], gameduration)
    END
  ),
  ended_at TIMESTAMPTZ NOT NULL AS (
    to_timestamp_millis(
      CASE
        WHEN coalesce(info['gameendtimestamp'], gameendtimestamp) IS NULL
          THEN coalesce(info['gamestarttimestamp'], gamestarttimestamp) + CAST(
            coalesce(info['gameduration'], gameduration) AS BIGINT
          )
        ELSE coalesce(info['gameendtimestamp'], gameendtimestamp)
      END
    )
  ),
  PRIMARY KEY (match_id),
  CONSTRAINT has_players CHECK (
    coalesce(cardinality(coalesce(info['participants'], participants)), 0) BETWEEN 1 AND 24
  ),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 14400),
  CONSTRAINT ends_after_start CHECK (ended_at >= started_at),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'riot.match',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'info.participants[].puuid, info.participants[].riotidgamename, info.participants[].riotidname, info.participants[].riotidtagline, info.participants[].summonername, participants[].puuid, participants[].riotidgamename, participants[].riotidname, participants[].riotidtagline, participants[].summonername',
  erase.by = 'info.participants[].puuid, participants[].puuid'
)
FORMAT PLAIN ENCODE JSON;

-- One body a match, whichever form it came in.
CREATE VIEW riot_bodies AS
  SELECT
    match_id,
    coalesce(info['platformid'], platformid) AS platform,
    coalesce(info['gamemode'], gamemode) AS mode,
    coalesce(info['queueid'], queueid) AS queue,
    coalesce(info['mapid'], mapid) AS map,
    coalesce(info['gameversion'], gameversion) AS version,
    coalesce(info['endofgameresult'], endofgameresult) AS result,
    coalesce(info['participants'], participants) AS players,
    coalesce(info['teams'], teams) AS teams,
    started_at,
    ended_at,
    duration_s,
    fetched_at
  FROM riot_captures;

-- Matches in the words of the model, with their players and teams as Riot has them.
CREATE VIEW riot_matches AS
  SELECT
    match_id,
    CASE
      WHEN array_any_match(players, p -> p['gameendedinearlysurrender']) THEN 'remake'
      WHEN coalesce(result, 'GameComplete') <> 'GameComplete' OR duration_s = 0 THEN 'aborted'
      ELSE 'completed'
    END AS status,
    platform,
    -- https://developer.riotgames.com/docs/lol, routing values
    CASE
      WHEN platform IN ('NA1', 'BR1', 'LA1', 'LA2', 'PBE1') THEN 'americas'
      WHEN platform IN ('KR', 'JP1') THEN 'asia'
      WHEN platform IN ('EUW1', 'EUN1', 'TR1', 'RU', 'ME1') THEN 'europe'
      WHEN platform IN ('OC1', 'PH2', 'SG2', 'TH2', 'TW2', 'VN2') THEN 'sea'
    END AS region,
    CASE WHEN queue = 0 THEN 'custom' ELSE CAST(queue AS VARCHAR) END AS queue,
    queue IN (420, 440) AS ranked,
    mode,
    CAST(map AS VARCHAR) AS map,
    -- 14.7.571.9528 is patch 14.7
    split_part(version, '.', 1) || '.' || split_part(version, '.', 2) AS patch,
    started_at,
    ended_at,
    duration_s,
    fetched_at,
    players,
    teams
  FROM riot_bodies;

INSERT INTO matches
  SELECT
    'lol',
    match_id,
    status,
    platform,
    region,
    queue,
    ranked,
    mode,
    map,
    patch,
    started_at,
    ended_at,
    duration_s,
    fetched_at
  FROM riot_matches;

INSERT INTO teams
  SELECT
    'lol',
    m.match_id,
    t.teamid,
    CASE WHEN t.win THEN 'win' ELSE 'loss' END,
    t.objectives['tower']['kills'],
    t.objectives['champion']['kills']
  FROM riot_matches AS m, UNNEST(m.teams) AS t
  -- Arena's teams are those of its players.
  WHERE m.mode <> 'CHERRY' AND t.teamid > 0;

INSERT INTO teams
  SELECT
    'lol',
    m.match_id,
    p.playersubteamid,
    CASE WHEN bool_or(p.win) THEN 'win' ELSE 'loss' END,
    NULL,
    sum(p.kills)
  FROM riot_matches AS m, UNNEST(m.players) AS p
  WHERE m.mode = 'CHERRY'
  GROUP BY m.match_id, p.playersubteamid;

-- Arena's teams are named by the players' subteam.
CREATE VIEW riot_players AS
  SELECT
    m.*,
    p.*,
    CASE WHEN m.mode = 'CHERRY' THEN p.playersubteamid ELSE p.teamid END AS team_id,
    array_filter(
      m.players,
      o -> CASE
        WHEN m.mode = 'CHERRY' THEN o['playersubteamid'] = p.playersubteamid
        ELSE o['teamid'] = p.teamid
      END
    ) AS team
  FROM riot_matches AS m, UNNEST(m.players) AS p;

INSERT INTO participants (
  game,
  match_id,
  status,
  platform,
  region,
  queue,
  ranked,
  mode,
  map,
  patch,
  ended_at,
  duration_s,
  slot,
  player_id,
  player_name,
  is_bot,
  team_id,
  champion_id,
  champion,
  role,
  outcome,
  placement,
  kills,
  deaths,
  assists,
  assist_weight,
  best_spree,
  cs,
  gold,
  damage,
  team_damage,
  team_size,
  damage_taken,
  vision,
  played_s,
  left_early
)
  SELECT
    'lol',
    match_id,
    status,
    platform,
    region,
    queue,
    ranked,
    mode,
    map,
    patch,
    ended_at,
    duration_s,
    participantid,
    CASE WHEN puuid <> 'BOT' THEN nullif(puuid, '') END,
    coalesce(nullif(riotidgamename, ''), nullif(riotidname, ''), nullif(summonername, '')),
    coalesce(puuid = 'BOT', false),
    team_id,
    championid,
    championname,
    CASE
      WHEN teamposition IN ('TOP', 'JUNGLE', 'MIDDLE', 'BOTTOM', 'UTILITY') THEN teamposition
    END,
    CASE WHEN win THEN 'win' ELSE 'loss' END,
    nullif(coalesce(placement, subteamplacement), 0),
    kills,
    deaths,
    assists,
    1.0,
    largestkillingspree,
    totalminionskilled + neutralminionskilled,
    goldearned,
    totaldamagedealttochampions,
    array_sum(array_transform(team, o -> o['totaldamagedealttochampions'])),
    cardinality(team),
    totaldamagetaken,
    visionscore,
    timeplayed,
    -- Arena's players leave when their team is out.
    mode <> 'CHERRY' AND timeplayed < 0.9 * duration_s
  FROM riot_players;

INSERT INTO bans
  SELECT 'lol', m.match_id, t.teamid, b.championid, b.pickturn
  FROM riot_matches AS m, UNNEST(m.teams) AS t, UNNEST(t.bans) AS b
  -- -1 is a ban that nobody chose.
  WHERE b.championid > 0;

-- Timelines: the state of each player once a minute, and what happened.
CREATE TYPE riot_frame AS (
  "timestamp" BIGINT,
  participantFrames JSONB,
  events STRUCT<
    type VARCHAR,
    "timestamp" BIGINT,
    killerId INT,
    victimId INT,
    killerTeamId INT,
    teamId INT,
    monsterType VARCHAR,
    buildingType VARCHAR,
    winningTeam INT
  >[]
);

CREATE TABLE riot_timelines (
  metadata STRUCT<matchId VARCHAR>,
  info STRUCT<frames riot_frame[]>,
  match_id VARCHAR NOT NULL AS (metadata['matchid']),
  PRIMARY KEY (match_id),
  CONSTRAINT has_frames CHECK (coalesce(cardinality(info['frames']), 0) > 0)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'riot.timeline',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

CREATE VIEW riot_frames AS
  SELECT t.match_id, f."timestamp" / 1000.0 AS at_s, f.participantframes AS players, f.events
  FROM riot_timelines AS t, UNNEST(t.info['frames']) AS f;

-- participantFrames is an object with one member a player.
INSERT INTO timeline_frames
  SELECT
    'lol',
    f.match_id,
    f.at_s,
    CAST(p.key AS INT),
    CAST(p.value ->> 'totalGold' AS BIGINT),
    CAST(p.value ->> 'xp' AS BIGINT),
    CAST(p.value ->> 'minionsKilled' AS BIGINT) + CAST(p.value ->> 'jungleMinionsKilled' AS BIGINT),
    CAST(p.value ->> 'level' AS INT)
  FROM riot_frames AS f, jsonb_each(f.players) AS p;

INSERT INTO timeline_events
  SELECT
    'lol',
    f.match_id,
    e."timestamp" / 1000.0,
    CASE e.type
      WHEN 'CHAMPION_KILL' THEN 'kill'
      WHEN 'BUILDING_KILL' THEN 'building'
      WHEN 'ELITE_MONSTER_KILL' THEN 'monster'
      WHEN 'TURRET_PLATE_DESTROYED' THEN 'plate'
      ELSE 'end'
    END,
    coalesce(e.monstertype, e.buildingtype),
    e.killerid,
    e.victimid,
    -- A building's team is the one that lost it; so is a plate's. A kill's team is that of the player.
    CAST(
      CASE
        WHEN e.type IN ('BUILDING_KILL', 'TURRET_PLATE_DESTROYED') THEN 300 - e.teamid
        ELSE coalesce(e.killerteamid, e.winningteam)
      END AS INT
    )
  FROM riot_frames AS f, UNNEST(f.events) AS e
  WHERE e.type IN (
    'CHAMPION_KILL',
    'BUILDING_KILL',
    'ELITE_MONSTER_KILL',
    'TURRET_PLATE_DESTROYED',
    'GAME_END'
  );

-- League entries, as /lol/league/v4/entries returns each; the record's timestamp is when.
CREATE TABLE riot_leagues (
  puuid VARCHAR NOT NULL,
  queueType VARCHAR NOT NULL,
  tier VARCHAR NOT NULL,
  "rank" VARCHAR,
  leaguePoints DOUBLE,
  wins BIGINT,
  losses BIGINT,
  PRIMARY KEY (puuid, queuetype, fetched_at)
) ON CONFLICT DO NOTHING
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'riot.league',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'puuid',
  erase.by = 'puuid'
)
FORMAT PLAIN ENCODE JSON;

INSERT INTO ranks
  SELECT
    'lol',
    puuid,
    CASE queuetype
      WHEN 'RANKED_SOLO_5x5' THEN '420'
      WHEN 'RANKED_FLEX_SR' THEN '440'
      ELSE queuetype
    END,
    queuetype = 'RANKED_SOLO_5x5',
    tier,
    "rank",
    leaguepoints,
    wins,
    losses,
    fetched_at
  FROM riot_leagues;
