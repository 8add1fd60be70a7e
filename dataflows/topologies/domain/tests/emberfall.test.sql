-- A third game, added by one file: its matches are in every view by theme, and no other file knows of it.

-- topology ../10_model.sql
-- topology ../11_people.sql
-- topology ../20_riot.sql
-- topology ../21_halo.sql
-- topology emberfall.sql
-- topology ../30_ranks.sql
-- topology ../40_performance.sql
-- topology ../43_maps.sql

-- A duel, one that was called off, and one that has no sides.
-- feed ember_duels
timestamp=2024-05-01T12:00:00Z {"duel":"d1","realm":"north","began":"2024-05-01T10:00:00Z","minutes":12.5,"cancelled":false,"red":{"points":3,"roster":[{"account":"e-anna","nick":"Anna","class":"smith","strikes":3,"falls":1,"helps":2,"heat":40.5},{"account":"e-ben","nick":"Ben","class":"mage","strikes":0,"falls":2,"helps":1,"heat":9.5}]},"blue":{"points":3,"roster":[{"account":"e-cleo","nick":"Cleo","class":"smith","strikes":3,"falls":0,"helps":0,"heat":30.0}]}}
timestamp=2024-05-01T12:00:01Z {"duel":"d2","realm":"north","began":"2024-05-01T10:20:00Z","minutes":1,"cancelled":true,"red":{"points":0,"roster":[{"account":"e-anna"}]},"blue":{"points":0,"roster":[{"account":"e-cleo"}]}}
timestamp=2024-05-01T12:00:02Z {"duel":"d3","began":"2024-05-01T10:20:00Z","minutes":1}
-- expect player_performance
{"game":"emberfall","match_id":"d1","player_id":"e-anna","ended_at":"2024-05-01T10:12:30.000000Z","queue":"duel","mode":"duel","map":"the pit","patch":null,"region":null,"champion_id":null,"champion":"smith","role":null,"outcome":"tie","placement":null,"kills":3,"deaths":1,"assists":2,"kda":4.0,"cs_per_min":null,"gold_per_min":null,"damage":40.5,"damage_share":0.81,"vision_score":null,"accuracy":null,"best_spree":null,"score":null,"played_s":750.0,"left_early":false}
{"game":"emberfall","match_id":"d1","player_id":"e-ben","ended_at":"2024-05-01T10:12:30.000000Z","queue":"duel","mode":"duel","map":"the pit","patch":null,"region":null,"champion_id":null,"champion":"mage","role":null,"outcome":"tie","placement":null,"kills":0,"deaths":2,"assists":1,"kda":0.25,"cs_per_min":null,"gold_per_min":null,"damage":9.5,"damage_share":0.19,"vision_score":null,"accuracy":null,"best_spree":null,"score":null,"played_s":750.0,"left_early":false}
{"game":"emberfall","match_id":"d1","player_id":"e-cleo","ended_at":"2024-05-01T10:12:30.000000Z","queue":"duel","mode":"duel","map":"the pit","patch":null,"region":null,"champion_id":null,"champion":"smith","role":null,"outcome":"tie","placement":null,"kills":3,"deaths":0,"assists":0,"kda":3.0,"cs_per_min":null,"gold_per_min":null,"damage":30.0,"damage_share":1.0,"vision_score":null,"accuracy":null,"best_spree":null,"score":null,"played_s":750.0,"left_early":false}
-- expect performance_alltime
{"game":"emberfall","dimension":"champion","value":"mage","games":1,"wins":0,"win_rate":0.0,"kills":0,"deaths":2,"assists":1,"kda":0.25,"cs_per_min":null,"gold_per_min":null,"damage_share":0.19,"vision_score":null,"accuracy":null,"played_s":750.0,"last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","dimension":"champion","value":"smith","games":2,"wins":0,"win_rate":0.0,"kills":6,"deaths":1,"assists":2,"kda":7.0,"cs_per_min":null,"gold_per_min":null,"damage_share":0.905,"vision_score":null,"accuracy":null,"played_s":1500.0,"last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","dimension":"player","value":"e-anna","games":1,"wins":0,"win_rate":0.0,"kills":3,"deaths":1,"assists":2,"kda":4.0,"cs_per_min":null,"gold_per_min":null,"damage_share":0.81,"vision_score":null,"accuracy":null,"played_s":750.0,"last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","dimension":"player","value":"e-ben","games":1,"wins":0,"win_rate":0.0,"kills":0,"deaths":2,"assists":1,"kda":0.25,"cs_per_min":null,"gold_per_min":null,"damage_share":0.19,"vision_score":null,"accuracy":null,"played_s":750.0,"last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","dimension":"player","value":"e-cleo","games":1,"wins":0,"win_rate":0.0,"kills":3,"deaths":0,"assists":0,"kda":3.0,"cs_per_min":null,"gold_per_min":null,"damage_share":1.0,"vision_score":null,"accuracy":null,"played_s":750.0,"last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","dimension":"queue","value":"duel","games":3,"wins":0,"win_rate":0.0,"kills":6,"deaths":3,"assists":3,"kda":2.5,"cs_per_min":null,"gold_per_min":null,"damage_share":0.6666666666666666,"vision_score":null,"accuracy":null,"played_s":2250.0,"last_seen":"2024-05-01T10:12:30.000000Z"}
-- expect mv_map_stats
{"game":"emberfall","map":"the pit","matches":1,"duration_s":750.0,"players":3,"kills_a_match":6.0,"kda":2.5,"last_played":"2024-05-01T10:12:30.000000Z"}
-- expect player_aliases
{"game":"emberfall","player_id":"e-anna","player_name":"Anna","named_at":"2024-05-01T10:12:30.000000Z","last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","player_id":"e-ben","player_name":"Ben","named_at":"2024-05-01T10:12:30.000000Z","last_seen":"2024-05-01T10:12:30.000000Z"}
{"game":"emberfall","player_id":"e-cleo","player_name":"Cleo","named_at":"2024-05-01T10:12:30.000000Z","last_seen":"2024-05-01T10:12:30.000000Z"}
-- expect dead_letter
{"source":"ember_duels","partition":0,"offset":2,"outcome":"constraint","constraint":"has_two_sides","message":"CHECK (coalesce(cardinality(red['roster']), 0) > 0 AND coalesce(cardinality(blue['roster']), 0) > 0) is false"}

-- Captured again: red had won.
-- feed ember_duels
timestamp=2024-05-01T13:00:00Z {"duel":"d1","realm":"north","began":"2024-05-01T10:00:00Z","minutes":12.5,"cancelled":false,"red":{"points":4,"roster":[{"account":"e-anna","nick":"Anna","class":"smith","strikes":4,"falls":1,"helps":2,"heat":40.5},{"account":"e-ben","nick":"Ben","class":"mage","strikes":0,"falls":2,"helps":1,"heat":9.5}]},"blue":{"points":3,"roster":[{"account":"e-cleo","nick":"Cleo","class":"smith","strikes":3,"falls":0,"helps":0,"heat":30.0}]}}
-- expect player_performance
{"game":"emberfall","match_id":"d1","player_id":"e-anna","ended_at":"2024-05-01T10:12:30.000000Z","queue":"duel","mode":"duel","map":"the pit","patch":null,"region":null,"champion_id":null,"champion":"smith","role":null,"outcome":"win","placement":null,"kills":4,"deaths":1,"assists":2,"kda":5.0,"cs_per_min":null,"gold_per_min":null,"damage":40.5,"damage_share":0.81,"vision_score":null,"accuracy":null,"best_spree":null,"score":null,"played_s":750.0,"left_early":false}
{"game":"emberfall","match_id":"d1","player_id":"e-ben","ended_at":"2024-05-01T10:12:30.000000Z","queue":"duel","mode":"duel","map":"the pit","patch":null,"region":null,"champion_id":null,"champion":"mage","role":null,"outcome":"win","placement":null,"kills":0,"deaths":2,"assists":1,"kda":0.25,"cs_per_min":null,"gold_per_min":null,"damage":9.5,"damage_share":0.19,"vision_score":null,"accuracy":null,"best_spree":null,"score":null,"played_s":750.0,"left_early":false}
{"game":"emberfall","match_id":"d1","player_id":"e-cleo","ended_at":"2024-05-01T10:12:30.000000Z","queue":"duel","mode":"duel","map":"the pit","patch":null,"region":null,"champion_id":null,"champion":"smith","role":null,"outcome":"loss","placement":null,"kills":3,"deaths":0,"assists":0,"kda":3.0,"cs_per_min":null,"gold_per_min":null,"damage":30.0,"damage_share":1.0,"vision_score":null,"accuracy":null,"best_spree":null,"score":null,"played_s":750.0,"left_early":false}
-- expect outcomes ember_duels
{"read":4,"accepted":3,"duplicate":0,"superseded":0,"constraint":1,"decode":0,"late":0}
