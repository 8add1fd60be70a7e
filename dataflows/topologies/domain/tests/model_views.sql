-- The views of the match model, materialised for the tests of the adapters.

CREATE MATERIALIZED VIEW model_matches AS
  SELECT *
  FROM matches;

CREATE MATERIALIZED VIEW model_teams AS
  SELECT *
  FROM teams;

CREATE MATERIALIZED VIEW model_participants AS
  SELECT *
  FROM participants;

CREATE MATERIALIZED VIEW model_bans AS
  SELECT *
  FROM bans;

CREATE MATERIALIZED VIEW model_awards AS
  SELECT *
  FROM awards;

CREATE MATERIALIZED VIEW model_timeline_frames AS
  SELECT *
  FROM timeline_frames;

CREATE MATERIALIZED VIEW model_timeline_events AS
  SELECT *
  FROM timeline_events;

CREATE MATERIALIZED VIEW model_skills AS
  SELECT *
  FROM skills;

CREATE MATERIALIZED VIEW model_ranks AS
  SELECT *
  FROM ranks;
