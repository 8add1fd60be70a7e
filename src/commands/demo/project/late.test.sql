-- A match is late if it ended more than a day (the retention) and an hour (the delay of the watermark) before the
-- latest one.

-- topology ../matches.sql

-- feed champions
{"champion_id":1,"name":"Annie"}
-- feed matches
{"event_id":"e3","fetched_at":"2026-01-04T12:05:00Z","match":{"metadata":{"matchId":"EUW1_2"},"info":{"platformId":"EUW1","gameEndTimestamp":1767528000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true}]}}}
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect outcomes matches

-- The latest match ended on January 5 at 12:10, so 10:00 of the day before is too old. 12:00 is not, and that
-- match can still be corrected.
-- feed matches
{"event_id":"e4","fetched_at":"2026-01-05T12:20:00Z","match":{"metadata":{"matchId":"EUW1_3"},"info":{"platformId":"EUW1","gameEndTimestamp":1767520800000,"gameDuration":1800,"participants":[{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
{"event_id":"e5","fetched_at":"2026-01-05T12:25:00Z","match":{"metadata":{"matchId":"EUW1_2"},"info":{"platformId":"EUW1","gameEndTimestamp":1767528000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":9,"deaths":2,"assists":7,"win":true}]}}}
-- expect outcomes matches
-- expect dead_letter
-- expect changes champion_hourly_out
