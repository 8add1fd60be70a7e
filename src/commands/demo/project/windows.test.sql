-- A match belongs to the hour in which it ended: from the full hour on, and before the next.

-- topology ../matches.sql

-- The last millisecond of one hour, the first of the next, and another platform.
-- feed matches
{"event_id":"e8","fetched_at":"2026-01-05T13:05:00Z","match":{"metadata":{"matchId":"EUW1_4"},"info":{"platformId":"EUW1","gameEndTimestamp":1767617999999,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true}]}}}
{"event_id":"e9","fetched_at":"2026-01-05T13:05:01Z","match":{"metadata":{"matchId":"EUW1_5"},"info":{"platformId":"EUW1","gameEndTimestamp":1767618000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":3,"deaths":3,"assists":4,"win":false}]}}}
{"event_id":"e10","fetched_at":"2026-01-05T13:05:02Z","match":{"metadata":{"matchId":"KR_6"},"info":{"platformId":"KR","gameEndTimestamp":1767619800000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":8,"deaths":1,"assists":2,"win":true}]}}}
-- expect champion_hourly

-- Matches come in any order: this one belongs to the earlier hour.
-- feed matches
{"event_id":"e11","fetched_at":"2026-01-05T13:06:00Z","match":{"metadata":{"matchId":"EUW1_7"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615600000,"gameDuration":1800,"participants":[{"puuid":"cleo","championId":1,"kills":2,"deaths":2,"assists":2,"win":false}]}}}
-- expect changes champion_hourly_out

-- The champion's name comes last, and all three rows get it.
-- feed champions
{"champion_id":1,"name":"Annie"}
-- expect champion_hourly
-- expect player_alltime
