-- Live matches: there with their last state, gone when completed or silent.

-- topology ../10_model.sql
-- topology ../11_people.sql
-- topology ../20_riot.sql
-- topology ../21_halo.sql
-- topology ../30_ranks.sql
-- topology ../40_performance.sql
-- topology ../50_live.sql

-- feed live_started
{"game":"lol","match_id":"EUW1_1","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:00:00Z","occurred_at":"2024-05-01T10:00:00Z","players":[{"player_id":"anna","player_name":"Anna","team_id":100,"champion_id":103},{"player_id":null,"player_name":"bot","team_id":200,"champion_id":86}]}
{"game":"lol","match_id":"EUW1_5","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:01:00Z","occurred_at":"2024-05-01T10:01:00Z","players":[{"player_id":"anna","player_name":"Anna","team_id":100,"champion_id":103},{"player_id":null,"player_name":"bot","team_id":200,"champion_id":86}]}
-- feed live_updates
{"game":"lol","match_id":"EUW1_1","at_s":120,"teams":[{"team_id":100,"score":1,"kills":2}],"players":[],"occurred_at":"2024-05-01T10:02:00Z"}
{"game":"lol","match_id":"EUW1_1","at_s":60,"teams":[{"team_id":100,"score":1,"kills":1}],"players":[],"occurred_at":"2024-05-01T10:01:00Z"}
-- expect live_matches
{"game":"lol","match_id":"EUW1_1","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:00:00.000000Z","last_heard":"2024-05-01T10:02:00.000000Z","at_s":120.0,"teams":[{"team_id":100,"score":1,"kills":2}],"players":2}
{"game":"lol","match_id":"EUW1_5","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:01:00.000000Z","last_heard":"2024-05-01T10:01:00.000000Z","at_s":null,"teams":null,"players":2}
-- expect live_players
{"game":"lol","player_id":"anna","match_id":"EUW1_5","started_at":"2024-05-01T10:01:00.000000Z"}

-- EUW1_1 goes on; nothing more is heard of EUW1_5.
-- feed live_updates
{"game":"lol","match_id":"EUW1_1","at_s":780,"teams":[{"team_id":100,"score":1,"kills":9}],"players":[],"occurred_at":"2024-05-01T10:13:00Z"}
-- feed live_started
{"game":"lol","match_id":"EUW1_6","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:13:30Z","occurred_at":"2024-05-01T10:13:30Z","players":[{"player_id":"anna","player_name":"Anna","team_id":100,"champion_id":103},{"player_id":null,"player_name":"bot","team_id":200,"champion_id":86}]}
-- expect live_matches
{"game":"lol","match_id":"EUW1_1","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:00:00.000000Z","last_heard":"2024-05-01T10:13:00.000000Z","at_s":780.0,"teams":[{"team_id":100,"score":1,"kills":9}],"players":2}
{"game":"lol","match_id":"EUW1_6","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:13:30.000000Z","last_heard":"2024-05-01T10:13:30.000000Z","at_s":null,"teams":null,"players":2}
-- expect live_players
{"game":"lol","player_id":"anna","match_id":"EUW1_6","started_at":"2024-05-01T10:13:30.000000Z"}

-- The result of EUW1_1 has come.
-- feed riot_captures
timestamp=2024-05-01T12:00:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"14.7.571.9528","gameStartTimestamp":1714557600000,"gameEndTimestamp":1714559400000,"gameDuration":1800,"endOfGameResult":"GameComplete","participants":[{"participantId":1,"puuid":"anna","championId":103,"championName":"Ahri","teamId":100,"win":true,"kills":5,"deaths":0,"assists":7,"largestKillingSpree":5,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":12000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":false,"riotIdGameName":"Anna"},{"participantId":2,"puuid":"ben","championId":86,"championName":"Garen","teamId":100,"win":true,"kills":2,"deaths":4,"assists":1,"largestKillingSpree":2,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":8000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"TOP","gameEndedInEarlySurrender":false,"riotIdGameName":"Ben"},{"participantId":3,"puuid":"cleo","championId":99,"championName":"Lux","teamId":200,"win":false,"kills":1,"deaths":4,"assists":0,"largestKillingSpree":1,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":9000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":false,"riotIdGameName":"Cleo"},{"participantId":4,"puuid":"dora","championId":254,"championName":"Vi","teamId":200,"win":false,"kills":3,"deaths":3,"assists":2,"largestKillingSpree":3,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":3000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"TOP","gameEndedInEarlySurrender":false,"riotIdGameName":"Dora"}],"teams":[{"teamId":100,"win":true,"bans":[{"championId":-1,"pickTurn":1},{"championId":55,"pickTurn":2}],"objectives":{"tower":{"first":true,"kills":5},"champion":{"first":true,"kills":7}}},{"teamId":200,"win":false,"bans":[{"championId":55,"pickTurn":3}],"objectives":{"tower":{"first":false,"kills":2},"champion":{"first":false,"kills":4}}}]}}
-- expect live_matches
{"game":"lol","match_id":"EUW1_6","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:13:30.000000Z","last_heard":"2024-05-01T10:13:30.000000Z","at_s":null,"teams":null,"players":2}

-- Updates alone move no start: EUW1_6, of which its start alone was heard, stays, and EUW1_7 with it.
-- feed live_started
{"game":"lol","match_id":"EUW1_7","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:14:00Z","occurred_at":"2024-05-01T10:14:00Z","players":[]}
-- feed live_updates
{"game":"lol","match_id":"EUW1_7","at_s":60,"teams":[],"players":[],"occurred_at":"2024-05-01T10:40:00Z"}
-- expect live_matches
{"game":"lol","match_id":"EUW1_6","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:13:30.000000Z","last_heard":"2024-05-01T10:13:30.000000Z","at_s":null,"teams":null,"players":2}
{"game":"lol","match_id":"EUW1_7","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:14:00.000000Z","last_heard":"2024-05-01T10:40:00.000000Z","at_s":60.0,"teams":[],"players":0}

-- Starts alone end it: no update has come since.
-- feed live_started
{"game":"lol","match_id":"EUW1_8","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:25:00Z","occurred_at":"2024-05-01T10:25:00Z","players":[]}
-- expect live_matches
{"game":"lol","match_id":"EUW1_7","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:14:00.000000Z","last_heard":"2024-05-01T10:40:00.000000Z","at_s":60.0,"teams":[],"players":0}
{"game":"lol","match_id":"EUW1_8","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:25:00.000000Z","last_heard":"2024-05-01T10:25:00.000000Z","at_s":null,"teams":null,"players":0}

-- An event that is far ahead of its record ends nothing.
-- feed live_updates
timestamp=2024-05-01T10:41:00Z {"game":"lol","match_id":"EUW1_9","at_s":60,"teams":[],"players":[],"occurred_at":"2024-05-01T10:46:01Z"}
-- feed live_started
timestamp=2024-05-01T10:26:00Z {"game":"lol","match_id":"EUW1_9","started_at":"2024-05-01T10:26:00Z","occurred_at":"2024-05-01T11:26:00Z","players":[]}
-- expect live_matches
{"game":"lol","match_id":"EUW1_7","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:14:00.000000Z","last_heard":"2024-05-01T10:40:00.000000Z","at_s":60.0,"teams":[],"players":0}
{"game":"lol","match_id":"EUW1_8","platform":"EUW1","queue":"420","mode":"CLASSIC","map":"11","started_at":"2024-05-01T10:25:00.000000Z","last_heard":"2024-05-01T10:25:00.000000Z","at_s":null,"teams":null,"players":0}
-- expect dead_letter
{"source":"live_started","partition":0,"offset":5,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2024-05-01T11:26:00.000000Z is more than 300 s beyond the record's timestamp"}
{"source":"live_updates","partition":0,"offset":4,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2024-05-01T10:46:01.000000Z is more than 300 s beyond the record's timestamp"}
