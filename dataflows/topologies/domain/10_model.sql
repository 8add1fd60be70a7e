-- The match model: what every game's matches are made of. A game's adapter (20_riot.sql, 21_halo.sql) adds
-- its rows with INSERT INTO; the views by theme read nothing but the model, so a further game is one
-- more file behind this one.
--
-- `game` and `match_id` name a match, `slot` a player's place in it. Ids of players are those of the
-- game's API and are personal; who has none (bots, players of old captures) has player_id NULL and
-- counts for matches, maps and champions, but is nobody's performance.

-- One row a match: the capture that was fetched last.
CREATE VIEW matches (
  game VARCHAR, -- 'lol', 'halo', ...
  match_id VARCHAR, -- the game's own id
  status VARCHAR, -- 'completed', 'remake' or 'aborted'; only completed ones count for anyone
  platform VARCHAR, -- the game's server (EUW1), NULL where it has none
  region VARCHAR, -- americas, asia, europe, sea; NULL where the API does not tell
  queue VARCHAR, -- the queue or playlist that made the match; 'custom' if none did
  ranked BOOLEAN, -- NULL where the API does not tell
  mode VARCHAR, -- the rules: CLASSIC, ARAM, slayer, oddball, ...
  map VARCHAR, -- the game's id of the map
  patch VARCHAR, -- release of the game that the balance of champions depends on; NULL if unknown
  started_at TIMESTAMPTZ,
  ended_at TIMESTAMPTZ,
  duration_s DOUBLE, -- seconds in which players could play
  fetched_at TIMESTAMPTZ -- when the capture that counts was fetched
);

-- One row a team of a match. Arena has many, infection none.
CREATE VIEW teams (
  game VARCHAR,
  match_id VARCHAR,
  team_id INT,
  outcome VARCHAR, -- 'win', 'loss', 'tie' or 'unfinished'
  score BIGINT, -- the mode's own score; NULL where it has none
  kills BIGINT
);

-- One row a player of a match, whichever team they ended in, with the facts of the match and of the
-- team beside it, so that no view has to join them.
CREATE VIEW participants (
  game VARCHAR,
  match_id VARCHAR,
  status VARCHAR, -- of the match, as the next nine
  platform VARCHAR,
  region VARCHAR,
  queue VARCHAR,
  ranked BOOLEAN,
  mode VARCHAR,
  map VARCHAR,
  patch VARCHAR,
  ended_at TIMESTAMPTZ,
  duration_s DOUBLE,
  slot INT, -- 1, 2, ...: the player's place in the capture
  player_id VARCHAR, -- personal: PUUID, XUID; NULL for bots and where the API has none
  player_name VARCHAR, -- personal: as shown in that match
  is_bot BOOLEAN,
  team_id INT, -- NULL without teams
  champion_id INT, -- NULL in games without champions
  champion VARCHAR,
  role VARCHAR, -- TOP, JUNGLE, MIDDLE, BOTTOM, UTILITY; NULL in games without roles
  outcome VARCHAR, -- 'win', 'loss', 'tie' or 'unfinished' (left, did not finish)
  placement INT, -- 1 is first; NULL where only teams win
  kills BIGINT,
  deaths BIGINT,
  assists BIGINT,
  assist_weight DOUBLE, -- kills that an assist is worth in the game's kda
  best_spree BIGINT, -- most kills without a death
  score BIGINT, -- the game's personal score
  cs BIGINT, -- minions and monsters killed
  gold BIGINT, -- gold earned
  damage DOUBLE, -- damage dealt to champions or players
  team_damage DOUBLE, -- the same of all players of the team, or of the match without teams
  team_size BIGINT, -- players of the team, or of the match without teams
  damage_taken DOUBLE,
  vision DOUBLE, -- vision score
  shots_fired BIGINT,
  shots_hit BIGINT,
  played_s DOUBLE, -- seconds that this player was in the match
  left_early BOOLEAN
);

-- One row a ban. Both teams may ban one champion.
CREATE VIEW bans (game VARCHAR, match_id VARCHAR, team_id INT, champion_id INT, turn INT);

-- One row a kind of award of a player: medals and personal scores, as the game counts them.
CREATE VIEW awards (
  game VARCHAR,
  match_id VARCHAR,
  slot INT,
  player_id VARCHAR,
  kind VARCHAR, -- 'medal' or 'personal score'
  award_id BIGINT, -- the game's id of the award
  times BIGINT, -- how often it was earned
  score BIGINT -- points it gave in all
);

-- One row a player and moment of a match: state of the match as time goes by.
CREATE VIEW timeline_frames (
  game VARCHAR,
  match_id VARCHAR,
  at_s DOUBLE, -- seconds from the start
  slot INT,
  gold BIGINT, -- gold earned until then
  experience BIGINT,
  cs BIGINT,
  level INT
);

-- One row an event of a match that is told: kills, buildings, monsters, the end.
CREATE VIEW timeline_events (
  game VARCHAR,
  match_id VARCHAR,
  at_s DOUBLE,
  kind VARCHAR, -- 'kill', 'building', 'monster', 'plate', 'end'
  detail VARCHAR, -- kind of monster or building
  slot INT, -- who did it; 0 is no player
  victim_slot INT,
  team_id INT -- the team that gained by it
);

-- One row a player of a match for which the game tells what it expected of them.
CREATE VIEW skills (
  game VARCHAR,
  match_id VARCHAR,
  player_id VARCHAR, -- personal
  team_rating DOUBLE, -- the matchmaker's rating of the team
  rating_before DOUBLE, -- the player's ranked rating
  rating_after DOUBLE,
  tier_before VARCHAR,
  tier_after VARCHAR,
  kills BIGINT,
  expected_kills DOUBLE,
  kills_deviation DOUBLE, -- standard deviation of what was expected
  deaths BIGINT,
  expected_deaths DOUBLE,
  deaths_deviation DOUBLE
);

-- One row a rank of a player from some moment on.
CREATE VIEW ranks (
  game VARCHAR,
  player_id VARCHAR, -- personal
  queue VARCHAR, -- as in matches, or 'all' where one rank holds for all queues
  is_main BOOLEAN, -- the queue that the game ranks players by in the first place
  tier VARCHAR, -- GOLD, Onyx, ...
  division VARCHAR,
  points DOUBLE, -- league points, or CSR
  wins BIGINT,
  losses BIGINT,
  as_of TIMESTAMPTZ
);

-- One row a name that is known of a player, beside those in matches.
CREATE VIEW names (
  game VARCHAR,
  player_id VARCHAR, -- personal
  player_name VARCHAR, -- personal
  seen_at TIMESTAMPTZ -- when the game said so
);
