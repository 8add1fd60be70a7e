-- A later version of a match replaces the earlier one, wherever that was counted.

-- topology ../matches.sql

-- feed champions
{"champion_id":1,"name":"Annie"}
{"champion_id":2,"name":"Olaf"}
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect champion_hourly

-- The match ended an hour later than the first version says, with a kill more: one hour loses it, the next has it.
-- feed matches
{"event_id":"e2","fetched_at":"2026-01-05T13:30:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767618300000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":6,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect champion_hourly
-- expect changes champion_hourly_out
-- expect changes player_alltime_out

-- The first version once more is older than the one that is held: superseded.
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect outcomes matches
-- expect changes champion_hourly_out
