-- A record that cannot be used is kept with the reason, and changes nothing.

-- topology ../matches.sql

-- Half a record, text where a number belongs, no id, and a match of 25 hours.
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match"
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":"half an hour","participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
{"event_id":"e6","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true}]}}}
{"event_id":"e7","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":90000,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect outcomes matches
-- expect dead_letter
-- expect champion_hourly
-- expect player_alltime

-- The same match as it should be.
-- feed champions
{"champion_id":1,"name":"Annie"}
{"champion_id":2,"name":"Olaf"}
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-05T12:15:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1767615000000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect outcomes matches
-- expect champion_hourly
