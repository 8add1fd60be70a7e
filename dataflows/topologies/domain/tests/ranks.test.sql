-- Ranks over time: history, periods, moves between tiers.

-- topology ../10_model.sql
-- topology ../11_people.sql
-- topology ../20_riot.sql
-- topology ../21_halo.sql
-- topology ../30_ranks.sql

-- feed rank_changes
{"game":"lol","player_id":"anna","queue":"420","tier":"GOLD","division":"I","points":90,"wins":10,"losses":8,"as_of":"2024-04-01T00:00:00Z"}
{"game":"lol","player_id":"anna","queue":"420","tier":"PLATINUM","division":"IV","points":10,"wins":10,"losses":8,"as_of":"2024-04-20T00:00:00Z"}
{"game":"lol","player_id":"anna","queue":"420","tier":"GOLD","division":"I","points":75,"wins":10,"losses":8,"as_of":"2024-05-10T00:00:00Z"}
-- feed riot_leagues
timestamp=2024-05-02T00:00:00Z {"puuid":"ben","queueType":"RANKED_SOLO_5x5","tier":"SILVER","rank":"I","leaguePoints":20,"wins":3,"losses":4}
timestamp=2024-05-03T00:00:00Z {"puuid":"ben","queueType":"RANKED_SOLO_5x5","tier":"SILVER","rank":"I","leaguePoints":35,"wins":4,"losses":4}
-- expect ranking_history
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-04-01T00:00:00.000000Z","is_main":1,"tier":"GOLD","division":"I","points":90.0,"wins":10,"losses":8}
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-04-20T00:00:00.000000Z","is_main":1,"tier":"PLATINUM","division":"IV","points":10.0,"wins":10,"losses":8}
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-05-10T00:00:00.000000Z","is_main":1,"tier":"GOLD","division":"I","points":75.0,"wins":10,"losses":8}
{"game":"lol","player_id":"ben","queue":"420","as_of":"2024-05-02T00:00:00.000000Z","is_main":1,"tier":"SILVER","division":"I","points":20.0,"wins":3,"losses":4}
{"game":"lol","player_id":"ben","queue":"420","as_of":"2024-05-03T00:00:00.000000Z","is_main":1,"tier":"SILVER","division":"I","points":35.0,"wins":4,"losses":4}
-- expect rank_periods
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"GOLD","division":"I","points":75.0,"valid_from":"2024-05-10T00:00:00.000000Z","valid_to":null,"tier_before":"PLATINUM","points_before":10.0}
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"GOLD","division":"I","points":90.0,"valid_from":"2024-04-01T00:00:00.000000Z","valid_to":"2024-04-20T00:00:00.000000Z","tier_before":null,"points_before":null}
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"PLATINUM","division":"IV","points":10.0,"valid_from":"2024-04-20T00:00:00.000000Z","valid_to":"2024-05-10T00:00:00.000000Z","tier_before":"GOLD","points_before":90.0}
{"game":"lol","player_id":"ben","queue":"420","is_main":true,"tier":"SILVER","division":"I","points":20.0,"valid_from":"2024-05-02T00:00:00.000000Z","valid_to":"2024-05-03T00:00:00.000000Z","tier_before":null,"points_before":null}
{"game":"lol","player_id":"ben","queue":"420","is_main":true,"tier":"SILVER","division":"I","points":35.0,"valid_from":"2024-05-03T00:00:00.000000Z","valid_to":null,"tier_before":"SILVER","points_before":20.0}
-- expect rank_moves
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-04-20T00:00:00.000000Z","tier_before":"GOLD","tier":"PLATINUM","direction":"promotion"}
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-05-10T00:00:00.000000Z","tier_before":"PLATINUM","tier":"GOLD","direction":"demotion"}

-- A change in between arrives late, and the last one is corrected.
-- feed rank_changes
{"game":"lol","player_id":"anna","queue":"420","tier":"EMERALD","division":"IV","points":1,"wins":10,"losses":8,"as_of":"2024-05-01T00:00:00Z"}
{"game":"lol","player_id":"anna","queue":"420","tier":"PLATINUM","division":"IV","points":0,"wins":10,"losses":8,"as_of":"2024-05-10T00:00:00Z"}
-- expect rank_periods
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"EMERALD","division":"IV","points":1.0,"valid_from":"2024-05-01T00:00:00.000000Z","valid_to":"2024-05-10T00:00:00.000000Z","tier_before":"PLATINUM","points_before":10.0}
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"GOLD","division":"I","points":90.0,"valid_from":"2024-04-01T00:00:00.000000Z","valid_to":"2024-04-20T00:00:00.000000Z","tier_before":null,"points_before":null}
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"PLATINUM","division":"IV","points":0.0,"valid_from":"2024-05-10T00:00:00.000000Z","valid_to":null,"tier_before":"EMERALD","points_before":1.0}
{"game":"lol","player_id":"anna","queue":"420","is_main":true,"tier":"PLATINUM","division":"IV","points":10.0,"valid_from":"2024-04-20T00:00:00.000000Z","valid_to":"2024-05-01T00:00:00.000000Z","tier_before":"GOLD","points_before":90.0}
{"game":"lol","player_id":"ben","queue":"420","is_main":true,"tier":"SILVER","division":"I","points":20.0,"valid_from":"2024-05-02T00:00:00.000000Z","valid_to":"2024-05-03T00:00:00.000000Z","tier_before":null,"points_before":null}
{"game":"lol","player_id":"ben","queue":"420","is_main":true,"tier":"SILVER","division":"I","points":35.0,"valid_from":"2024-05-03T00:00:00.000000Z","valid_to":null,"tier_before":"SILVER","points_before":20.0}
-- expect rank_moves
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-04-20T00:00:00.000000Z","tier_before":"GOLD","tier":"PLATINUM","direction":"promotion"}
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-05-01T00:00:00.000000Z","tier_before":"PLATINUM","tier":"EMERALD","direction":"promotion"}
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-05-10T00:00:00.000000Z","tier_before":"EMERALD","tier":"PLATINUM","direction":"demotion"}

-- Two ranks of one moment, from the league and from the platform's own system: the one of more matches counts, whole.
-- feed riot_leagues
timestamp=2024-06-01T00:00:00Z {"puuid":"dora","queueType":"RANKED_SOLO_5x5","tier":"SILVER","rank":"IV","leaguePoints":90,"wins":12,"losses":9}
-- feed rank_changes
{"game":"lol","player_id":"dora","queue":"420","tier":"GOLD","division":"III","points":5,"wins":13,"losses":9,"as_of":"2024-06-01T00:00:00Z"}
-- expect ranking_history
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-04-01T00:00:00.000000Z","is_main":1,"tier":"GOLD","division":"I","points":90.0,"wins":10,"losses":8}
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-04-20T00:00:00.000000Z","is_main":1,"tier":"PLATINUM","division":"IV","points":10.0,"wins":10,"losses":8}
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-05-01T00:00:00.000000Z","is_main":1,"tier":"EMERALD","division":"IV","points":1.0,"wins":10,"losses":8}
{"game":"lol","player_id":"anna","queue":"420","as_of":"2024-05-10T00:00:00.000000Z","is_main":1,"tier":"PLATINUM","division":"IV","points":0.0,"wins":10,"losses":8}
{"game":"lol","player_id":"ben","queue":"420","as_of":"2024-05-02T00:00:00.000000Z","is_main":1,"tier":"SILVER","division":"I","points":20.0,"wins":3,"losses":4}
{"game":"lol","player_id":"ben","queue":"420","as_of":"2024-05-03T00:00:00.000000Z","is_main":1,"tier":"SILVER","division":"I","points":35.0,"wins":4,"losses":4}
{"game":"lol","player_id":"dora","queue":"420","as_of":"2024-06-01T00:00:00.000000Z","is_main":1,"tier":"GOLD","division":"III","points":5.0,"wins":13,"losses":9}

-- A rank of the year 2099 would be dora's last one for ever.
-- feed rank_changes
timestamp=2024-06-02T00:00:00Z {"game":"lol","player_id":"dora","queue":"420","tier":"CHALLENGER","division":"I","points":0,"as_of":"2099-01-01T00:00:00Z"}
timestamp=2024-06-02T00:00:00Z {"game":"lol","player_id":"dora","queue":"420","tier":"GOLD","division":"II","points":1,"wins":14,"losses":9,"as_of":"2024-06-02T00:00:00Z"}
-- expect rank_moves
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-04-20T00:00:00.000000Z","tier_before":"GOLD","tier":"PLATINUM","direction":"promotion"}
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-05-01T00:00:00.000000Z","tier_before":"PLATINUM","tier":"EMERALD","direction":"promotion"}
{"game":"lol","player_id":"anna","queue":"420","moved_at":"2024-05-10T00:00:00.000000Z","tier_before":"EMERALD","tier":"PLATINUM","direction":"demotion"}
-- expect dead_letter
{"source":"rank_changes","partition":0,"offset":6,"outcome":"constraint","constraint":"watermark.max_ahead","message":"event time 2099-01-01T00:00:00.000000Z is more than 300 s beyond the record's timestamp"}
