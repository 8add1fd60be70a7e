-- The Avro edition of match_analytics.sql. Feeds are JSON whatever ENCODE says: neither a broker nor a
-- schema registry is asked.

-- topology match_analytics_avro.sql

-- feed champions
{"champion_id":1,"name":"Annie"}
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-31T14:00:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1769861400000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false},{"puuid":"BOT","championId":1,"kills":0,"deaths":9,"assists":0,"win":false}]}}}
{"event_id":"e4","fetched_at":"2026-01-31T15:00:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1769864700000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":6,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect champion_hourly
{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":1,"wins":1,"win_rate":1.0,"avg_kills":6.0,"avg_deaths":2.0,"avg_assists":7.0}
{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":null,"games":1,"wins":0,"win_rate":0.0,"avg_kills":1.0,"avg_deaths":6.0,"avg_assists":3.0}
-- expect changes player_alltime_out
{"key":{"puuid":"anna"},"value":{"puuid":"anna","games":1,"wins":1,"kills":6,"deaths":2,"assists":7,"max_kills":6,"last_seen":"2026-01-31T13:05:00.000000Z"}}
{"key":{"puuid":"ben"},"value":{"puuid":"ben","games":1,"wins":0,"kills":1,"deaths":6,"assists":3,"max_kills":1,"last_seen":"2026-01-31T13:05:00.000000Z"}}
-- expect outcomes matches
{"read":2,"accepted":2,"duplicate":0,"superseded":0,"constraint":0,"decode":0,"late":0}
-- expect dead_letter
