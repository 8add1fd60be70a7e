-- A match that comes more than once counts once, also when the second time is after a restart.

-- topology ../matches.sql

-- feed champions
{"champion_id":1,"name":"Annie"}
{"champion_id":2,"name":"Olaf"}
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect outcomes matches
-- expect champion_hourly
-- restart

-- Nothing changes, so nothing is sent.
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect outcomes matches
-- expect changes champion_hourly_out
-- expect changes player_alltime_out
