-- The topics of the match domain: matches of League of Legends and Halo Infinite, the users who follow
-- them, the analytics made of them, and notifications. `herald topics plan` compares this file with a
-- broker, `herald topics apply` makes what is missing. docs/events.md tells the events.
--
-- Keys: records of one key keep their order, and a compacted topic keeps the last one of each. So the
-- key is the thing whose history must be read in order: a match, a player, a user. Where several
-- columns are named, the key is all of them.
--
-- Partitions: 12 where every match or player of a platform comes through, 6 for users and results, 3
-- for a trickle. Adding partitions later moves keys to others, so each number leaves room for several
-- times the load; 6 and 12 divide evenly among 1, 2, 3 and 6 workers.
--
-- Cleanup: events are deleted after a time, for they are facts of their moment. State (profiles,
-- preferences, ranks, statistics) is compacted: the last record of a key stands until a tombstone. So are the
-- records of a sink with FORMAT UPSERT, of which the last one of a key is the row that holds; `compact,delete` where it
-- need not be read after a time. The key is then the sink's.
--
-- Compatibility: full_transitive wherever records outlive a schema, for then a reader of any version
-- meets a writer of any version. Less is said with its reason.

-- Raw records: JSON as the games' APIs return it, without a schema, for it is theirs to change. The record's timestamp
-- is when it was fetched, and the latest one counts: a clock that is more than five minutes ahead is refused by the
-- broker (Kafka 3.6 and later), or its captures would count until that time has come.

-- Some 90 kB a match. A month to find and repair a mistake in reading them; longer history is exported.
-- The key is the match id: of two captures of a match the later one counts.
CREATE TOPIC "riot.match"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '30 days',
  message.timestamp.after.max.ms = '300000'
);

-- A megabyte or so a match before compression, which its producer must do: a week is all that fits.
CREATE TOPIC "riot.timeline"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '7 days',
  message.timestamp.after.max.ms = '300000'
);

-- League entries of a player, asked for again and again: old answers are of no use.
-- The key is the puuid, for ranks of a player must come in order.
CREATE TOPIC "riot.league"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'player_id',
  cleanup.policy = 'delete',
  retention = '7 days',
  message.timestamp.after.max.ms = '300000'
);

-- Some 30 kB a match; as riot.match.
CREATE TOPIC "halo.match"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '30 days',
  message.timestamp.after.max.ms = '300000'
);

-- Pages of a player's history: they only tell which matches are to be fetched, which is soon done.
CREATE TOPIC "halo.history"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'player_id',
  cleanup.policy = 'delete',
  retention = '7 days'
);

-- As long as the matches they belong to. The record does not name its match: the key alone does.
CREATE TOPIC "halo.skill"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '30 days',
  message.timestamp.after.max.ms = '300000'
);

-- Names of players. Names are personal data, and the next answer replaces them: no longer than needed.
CREATE TOPIC "halo.profile"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  key = 'player_id',
  cleanup.policy = 'delete',
  retention = '7 days',
  message.timestamp.after.max.ms = '300000'
);

-- Rejected records of all topologies, bytes unchanged; a month to mend the cause and replay them.
-- Keys are those of the rejected records, so none is named. Few are rejected: three partitions.
CREATE TOPIC "herald.dead_letter"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  cleanup.policy = 'delete',
  retention = '30 days'
);

-- Matches.

-- State: some 170 champions, written anew with each patch, in one partition.
CREATE TOPIC "champion"
WITH (
  partitions = '1',
  replication.factor = '${REPLICATION:-1}',
  key = 'champion_id',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/champion.avsc',
  compatibility = 'full_transitive'
);

-- Every match, with its corrections; a month for readers that begin anew.
CREATE TOPIC "match.completed"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '30 days',
  value.schema = '../../schemas/avro/match.completed.avsc',
  compatibility = 'full_transitive'
);

-- Of no use once the match is over; three days bridge a weekend's outage.
-- full: within three days only neighbouring versions of the schema are met.
CREATE TOPIC "match.live.started"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '3 days',
  value.schema = '../../schemas/avro/match.live.started.avsc',
  compatibility = 'full'
);

-- The most records of all, one a match every few seconds, and the shortest use.
-- full: within a day only neighbouring versions of the schema are met.
CREATE TOPIC "match.live.updated"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '1 day',
  value.schema = '../../schemas/avro/match.live.updated.avsc',
  compatibility = 'full'
);

-- Large records, and most questions about them are asked within days of the match.
CREATE TOPIC "match.timeline"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'match_id',
  cleanup.policy = 'delete',
  retention = '14 days',
  value.schema = '../../schemas/avro/match.timeline.avsc',
  compatibility = 'full_transitive'
);

-- State of every player: a reader that begins today must find those who last played a year ago.
CREATE TOPIC "player.stats.updated"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,player_id',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/player.stats.updated.avsc',
  compatibility = 'full_transitive'
);

-- State of every player and queue; changes of one rank are read in their order.
CREATE TOPIC "rank.changed"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,player_id,queue',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/rank.changed.avsc',
  compatibility = 'full_transitive'
);

-- Users. The key is the user, so that what one user does is read in the order it was done.

-- Attempts to guess passwords show within days; then it is personal data without a use.
CREATE TOPIC "user.authenticated"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'delete',
  retention = '30 days',
  value.schema = '../../schemas/avro/user.authenticated.avsc',
  compatibility = 'full_transitive'
);

-- As long as a session may last.
CREATE TOPIC "user.session.created"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'delete',
  retention = '30 days',
  value.schema = '../../schemas/avro/user.session.created.avsc',
  compatibility = 'full_transitive'
);

-- State: the last record is the profile. A tombstone erases it.
CREATE TOPIC "user.profile.updated"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/user.profile.updated.avsc',
  compatibility = 'full_transitive'
);

-- State: the last word on a user's conflicting profiles. A tombstone erases it.
CREATE TOPIC "user.profile.resolved"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'compact'
);

-- State: consent holds until it is taken back, so it must not grow old. A tombstone erases it.
CREATE TOPIC "user.preferences.changed"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/user.preferences.changed.avsc',
  compatibility = 'full_transitive'
);

-- An order that is obeyed in seconds; a week bridges an outage.
CREATE TOPIC "user.logout.initiated"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'delete',
  retention = '7 days',
  value.schema = '../../schemas/avro/user.logout.initiated.avsc',
  compatibility = 'full_transitive'
);

-- An order stands for ever: who reads old records later must meet it. One record a person, few of them.
CREATE TOPIC "user.erased"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  key = 'subject',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/user.erased.avsc',
  compatibility = 'full_transitive'
);

-- Analytics, made by Herald.

-- Hourly rows of players and rows of users by period as events. A quarter, for comparing windows across two seasons.
CREATE TOPIC "analytics.computed"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'view,window_start,group_key',
  cleanup.policy = 'compact,delete',
  retention = '90 days',
  value.schema = '../../schemas/avro/analytics.computed.avsc',
  compatibility = 'full_transitive'
);

-- Views of domain/ as tables, written by its sinks as JSON of their columns: the last record of a key is the row that
-- holds, a tombstone takes it away.

-- A row a player and match: a quarter, as above.
CREATE TOPIC "analytics.computed.player_performance"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,match_id,player_id',
  cleanup.policy = 'compact,delete',
  retention = '90 days'
);

-- A row an hour in all dimensions: a quarter.
CREATE TOPIC "analytics.computed.gaming_analytics"
WITH (
  partitions = '12',
  replication.factor = '${REPLICATION:-1}',
  key = 'window_start,game,player_id,champion_id,queue,region,tier,mode',
  cleanup.policy = 'compact,delete',
  retention = '90 days'
);

-- State: some 170 champions.
CREATE TOPIC "analytics.computed.champion_performance"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,champion_id',
  cleanup.policy = 'compact'
);

-- State: some hundred maps.
CREATE TOPIC "analytics.computed.map_stats"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,map',
  cleanup.policy = 'compact'
);

-- State: matches being played now; the others are tombstones.
CREATE TOPIC "analytics.computed.live_matches"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,match_id',
  cleanup.policy = 'compact'
);

-- State: each move of a player between tiers.
CREATE TOPIC "analytics.computed.rank_moves"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,player_id,queue,moved_at',
  cleanup.policy = 'compact'
);

-- Hours in which a metric is beyond its threshold; quality.sql lifts those of more than 90 days ago.
CREATE TOPIC "analytics.quality_alerts"
WITH (
  partitions = '3',
  replication.factor = '${REPLICATION:-1}',
  key = 'metric,source,hour',
  cleanup.policy = 'compact,delete',
  retention = '90 days'
);

-- State: thresholds that somebody changed. A tombstone brings the default back. A handful.
CREATE TOPIC "quality.threshold"
WITH (
  partitions = '1',
  replication.factor = '${REPLICATION:-1}',
  key = 'metric,source',
  cleanup.policy = 'compact'
);

-- A quarter: predictions are judged against the matches that followed.
CREATE TOPIC "prediction.generated"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,player_id,match_id',
  cleanup.policy = 'compact,delete',
  retention = '90 days',
  value.schema = '../../schemas/avro/prediction.generated.avsc',
  compatibility = 'full_transitive'
);

-- Acted on when it comes; a month for those who look back.
-- forward_transitive: its readers are applications of others, which must not break when fields are added,
-- and act on new records only.
CREATE TOPIC "trend.detected"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,player_id,match_id',
  cleanup.policy = 'compact,delete',
  retention = '30 days',
  value.schema = '../../schemas/avro/trend.detected.avsc',
  compatibility = 'forward_transitive'
);

-- A month to look into it. A finding that a correction takes back is taken back by its event_id.
-- forward_transitive: as trend.detected.
CREATE TOPIC "anomaly.detected"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'event_id',
  cleanup.policy = 'compact,delete',
  retention = '30 days',
  value.schema = '../../schemas/avro/anomaly.detected.avsc',
  compatibility = 'forward_transitive'
);

-- Stale with the player's next matches.
-- forward_transitive: as trend.detected.
CREATE TOPIC "recommendation.created"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'game,player_id,champion_id',
  cleanup.policy = 'compact,delete',
  retention = '14 days',
  value.schema = '../../schemas/avro/recommendation.created.avsc',
  compatibility = 'forward_transitive'
);

-- Notifications. The key of reports is the user, whose reports stay in order. Triggers and reports have one partition:
-- notifications.sql tells the time by each topic, which needs a record in each partition, and they are few.

-- News for users, as a change log: each change is read, so it is not compacted. A week bridges an outage.
CREATE TOPIC "notification.trigger"
WITH (
  partitions = '1',
  replication.factor = '${REPLICATION:-1}',
  key = 'trigger_id',
  cleanup.policy = 'delete',
  retention = '7 days'
);

-- A notification that could not be sent for a week is not worth sending.
CREATE TOPIC "notification.triggered"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'trigger_id',
  cleanup.policy = 'compact,delete',
  retention = '7 days',
  value.schema = '../../schemas/avro/notification.triggered.avsc',
  compatibility = 'full_transitive'
);

-- A quarter, for the rates of delivery and of clicks.
-- backward_transitive: Herald alone reads it, and its schema is changed before the senders', which may then
-- leave out fields at once.
CREATE TOPIC "notification.delivered"
WITH (
  partitions = '1',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'delete',
  retention = '90 days',
  value.schema = '../../schemas/avro/notification.delivered.avsc',
  compatibility = 'backward_transitive'
);

-- As notification.delivered.
CREATE TOPIC "notification.failed"
WITH (
  partitions = '1',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'delete',
  retention = '90 days',
  value.schema = '../../schemas/avro/notification.failed.avsc',
  compatibility = 'backward_transitive'
);

-- As notification.delivered.
CREATE TOPIC "notification.clicked"
WITH (
  partitions = '1',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id',
  cleanup.policy = 'delete',
  retention = '90 days',
  value.schema = '../../schemas/avro/notification.clicked.avsc',
  compatibility = 'backward_transitive'
);

-- State of every user and kind: a preference holds until it is changed. A tombstone erases it.
CREATE TOPIC "notification.preference.updated"
WITH (
  partitions = '6',
  replication.factor = '${REPLICATION:-1}',
  key = 'user_id,kind',
  cleanup.policy = 'compact',
  value.schema = '../../schemas/avro/notification.preference.updated.avsc',
  compatibility = 'full_transitive'
);
