-- Match analytics: what becomes of duplicates, corrections, broken records and late dimensions.
-- Run it with: herald test dataflows/topologies

-- topology match_analytics.sql

-- Two matches of one hour; champion 2 is not known yet. Bots are nobody's performance.
-- feed champions
{"champion_id":1,"name":"Annie"}
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-31T14:00:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1769861400000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false},{"puuid":"BOT","championId":1,"kills":0,"deaths":9,"assists":0,"win":false}]}}}
{"event_id":"e2","fetched_at":"2026-01-31T14:01:00Z","match":{"metadata":{"matchId":"EUW1_2"},"info":{"platformId":"EUW1","gameEndTimestamp":1769863200000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":3,"deaths":3,"assists":4,"win":false},{"puuid":"cleo","championId":1,"kills":8,"deaths":1,"assists":2,"win":true}]}}}
-- expect champion_hourly
{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":3,"wins":2,"win_rate":0.6666666666666666,"avg_kills":5.333333333333333,"avg_deaths":2.0,"avg_assists":4.333333333333333}
{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":null,"games":1,"wins":0,"win_rate":0.0,"avg_kills":1.0,"avg_deaths":6.0,"avg_assists":3.0}
-- expect player_alltime
{"puuid":"anna","games":2,"wins":1,"kills":8,"deaths":5,"assists":11,"max_kills":5,"last_seen":"2026-01-31T12:40:00.000000Z"}
{"puuid":"ben","games":1,"wins":0,"kills":1,"deaths":6,"assists":3,"max_kills":1,"last_seen":"2026-01-31T12:10:00.000000Z"}
{"puuid":"cleo","games":1,"wins":1,"kills":8,"deaths":1,"assists":2,"max_kills":8,"last_seen":"2026-01-31T12:40:00.000000Z"}
-- expect changes champion_hourly_out
{"key":{"window_start":"2026-01-31T12:00:00.000000Z","platform":"EUW1","champion_id":1},"value":{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":3,"wins":2,"win_rate":0.6666666666666666,"avg_kills":5.333333333333333,"avg_deaths":2.0,"avg_assists":4.333333333333333}}
{"key":{"window_start":"2026-01-31T12:00:00.000000Z","platform":"EUW1","champion_id":2},"value":{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":null,"games":1,"wins":0,"win_rate":0.0,"avg_kills":1.0,"avg_deaths":6.0,"avg_assists":3.0}}

-- The first match again, an older revision of it, half a record, and a duration that cannot be:
-- nothing changes, and each is accounted for.
-- feed matches
{"event_id":"e1","fetched_at":"2026-01-31T14:00:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1769861400000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":5,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false},{"puuid":"BOT","championId":1,"kills":0,"deaths":9,"assists":0,"win":false}]}}}
{"event_id":"e0","fetched_at":"2026-01-31T13:00:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1769861400000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":50,"deaths":0,"assists":0,"win":true}]}}}
{"event_id":"e1","fetched_at":"2026-01-31T14:00:00Z","match"
{"event_id":"e3","fetched_at":"2026-01-31T14:02:00Z","match":{"metadata":{"matchId":"EUW1_3"},"info":{"platformId":"EUW1","gameEndTimestamp":1769863800000,"gameDuration":90000,"participants":[{"puuid":"anna","championId":1,"kills":1,"deaths":1,"assists":1,"win":true}]}}}
-- expect changes champion_hourly_out
-- expect changes player_alltime_out
-- expect outcomes matches
{"read":6,"accepted":2,"duplicate":1,"superseded":1,"constraint":1,"decode":1,"late":0}
-- expect dead_letter
{"source":"matches","partition":0,"offset":4,"outcome":"decode","constraint":null,"message":"this is not JSON: EOF while parsing an object at byte 60"}
{"source":"matches","partition":0,"offset":5,"outcome":"constraint","constraint":"sane_duration","message":"CHECK (duration_s BETWEEN 0 AND 14400) is false"}

-- A correction moves the first match to the next hour.
-- feed matches
{"event_id":"e4","fetched_at":"2026-01-31T15:00:00Z","match":{"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameEndTimestamp":1769864700000,"gameDuration":1800,"participants":[{"puuid":"anna","championId":1,"kills":6,"deaths":2,"assists":7,"win":true},{"puuid":"ben","championId":2,"kills":1,"deaths":6,"assists":3,"win":false}]}}}
-- expect champion_hourly
{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":2,"wins":1,"win_rate":0.5,"avg_kills":5.5,"avg_deaths":2.0,"avg_assists":3.0}
{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":1,"wins":1,"win_rate":1.0,"avg_kills":6.0,"avg_deaths":2.0,"avg_assists":7.0}
{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":null,"games":1,"wins":0,"win_rate":0.0,"avg_kills":1.0,"avg_deaths":6.0,"avg_assists":3.0}
-- expect changes champion_hourly_out
{"key":{"window_start":"2026-01-31T12:00:00.000000Z","platform":"EUW1","champion_id":1},"value":{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":2,"wins":1,"win_rate":0.5,"avg_kills":5.5,"avg_deaths":2.0,"avg_assists":3.0}}
{"key":{"window_start":"2026-01-31T12:00:00.000000Z","platform":"EUW1","champion_id":2},"value":null}
{"key":{"window_start":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":1},"value":{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":1,"wins":1,"win_rate":1.0,"avg_kills":6.0,"avg_deaths":2.0,"avg_assists":7.0}}
{"key":{"window_start":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":2},"value":{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":null,"games":1,"wins":0,"win_rate":0.0,"avg_kills":1.0,"avg_deaths":6.0,"avg_assists":3.0}}
-- expect changes player_alltime_out
{"key":{"puuid":"anna"},"value":{"puuid":"anna","games":2,"wins":1,"kills":9,"deaths":5,"assists":11,"max_kills":6,"last_seen":"2026-01-31T13:05:00.000000Z"}}
{"key":{"puuid":"ben"},"value":{"puuid":"ben","games":1,"wins":0,"kills":1,"deaths":6,"assists":3,"max_kills":1,"last_seen":"2026-01-31T13:05:00.000000Z"}}

-- A stop and a start change nothing.
-- restart
-- expect champion_hourly
{"window_start":"2026-01-31T12:00:00.000000Z","window_end":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":2,"wins":1,"win_rate":0.5,"avg_kills":5.5,"avg_deaths":2.0,"avg_assists":3.0}
{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":1,"champion_name":"Annie","games":1,"wins":1,"win_rate":1.0,"avg_kills":6.0,"avg_deaths":2.0,"avg_assists":7.0}
{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":null,"games":1,"wins":0,"win_rate":0.0,"avg_kills":1.0,"avg_deaths":6.0,"avg_assists":3.0}
-- expect changes champion_hourly_out

-- Champion 2 becomes known after its games were counted, and plays again.
-- feed champions
{"champion_id":2,"name":"Olaf"}
-- feed matches
{"event_id":"e5","fetched_at":"2026-01-31T15:10:00Z","match":{"metadata":{"matchId":"EUW1_4"},"info":{"platformId":"EUW1","gameEndTimestamp":1769866200000,"gameDuration":1800,"participants":[{"puuid":"ben","championId":2,"kills":9,"deaths":4,"assists":1,"win":true}]}}}
-- expect changes champion_hourly_out
{"key":{"window_start":"2026-01-31T13:00:00.000000Z","platform":"EUW1","champion_id":2},"value":{"window_start":"2026-01-31T13:00:00.000000Z","window_end":"2026-01-31T14:00:00.000000Z","platform":"EUW1","champion_id":2,"champion_name":"Olaf","games":2,"wins":1,"win_rate":0.5,"avg_kills":5.0,"avg_deaths":5.0,"avg_assists":2.0}}
-- expect player_alltime
{"puuid":"anna","games":2,"wins":1,"kills":9,"deaths":5,"assists":11,"max_kills":6,"last_seen":"2026-01-31T13:05:00.000000Z"}
{"puuid":"ben","games":2,"wins":1,"kills":10,"deaths":10,"assists":4,"max_kills":9,"last_seen":"2026-01-31T13:30:00.000000Z"}
{"puuid":"cleo","games":1,"wins":1,"kills":8,"deaths":1,"assists":2,"max_kills":8,"last_seen":"2026-01-31T12:40:00.000000Z"}
-- expect outcomes champions
{"read":2,"accepted":2,"duplicate":0,"superseded":0,"constraint":0,"decode":0,"late":0}
-- expect outcomes matches
{"read":8,"accepted":4,"duplicate":1,"superseded":1,"constraint":1,"decode":1,"late":0}
-- expect herald.errors
