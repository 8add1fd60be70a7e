-- Data quality: what is counted of broken, repeated, late and incomplete records, and how a threshold changes.
-- Run it with: herald test dataflows/topologies

-- topology quality.sql

-- Six records of one hour: two matches, the first of them again, half a record, and twice what is no JSON at all. One
-- match has no patch, and no id of its player.
-- feed riot_match_raw
timestamp=2026-01-31T12:10:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"16.2.1","gameStartTimestamp":1769859600000,"gameEndTimestamp":1769861400000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":"anna"}]}}
timestamp=2026-01-31T12:20:00Z {"metadata":{"matchId":"EUW1_2"},"info":{"platformId":"EUW1","gameId":2,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameStartTimestamp":1769859600000,"gameEndTimestamp":1769861400000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":""}]}}
timestamp=2026-01-31T12:30:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"16.2.1","gameStartTimestamp":1769859600000,"gameEndTimestamp":1769861400000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":"anna"}]}}
timestamp=2026-01-31T12:31:00Z {"metadata":{"matchId":"EUW1_3"},"info":{"platformId":"EUW1","gameId":3,"gameMode":"CLASSI
timestamp=2026-01-31T12:32:00Z half of nothing
timestamp=2026-01-31T12:33:00Z half of nothing
-- expect quality_hourly
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","received":6,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":2,"duplicate_share":0.3333333333333333,"late_share":0.0,"completeness":0.9393939393939394,"freshness_median_s":600.0,"freshness_p90_s":1080.0,"newest":"2026-01-31T12:33:00.000000Z"}
-- expect quality_fields
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"duration","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"end","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"map","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"mode","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"patch","records":3,"missing":1,"missing_share":0.3333333333333333}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"platform","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"player ids","records":3,"missing":1,"missing_share":0.3333333333333333}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"players","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"queue","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"start","records":3,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","field":"teams","records":3,"missing":0,"missing_share":0.0}
-- expect quality_alerts

-- The topology of the matches has rejected three of them, one of another hour, and one of ten days before out of a
-- backlog; a replay has sent one again, and a row of a view failed.
-- feed dead_letters
header.herald.topic=riot.match header.herald.timestamp=1769862660000 header.herald.outcome=decode half
header.herald.topic=riot.match header.herald.timestamp=1769862720000 header.herald.outcome=decode half
header.herald.topic=riot.match header.herald.timestamp=1769862000000 header.herald.outcome=constraint header.herald.constraint=sane_duration {}
header.herald.topic=riot.match header.herald.timestamp=1769860740000 header.herald.outcome=constraint header.herald.constraint="match_id NOT NULL" {}
header.herald.topic=riot.match header.herald.timestamp=1768998000000 header.herald.outcome=constraint header.herald.constraint=sane_duration {}
key=riot.match/0/3 header.herald.outcome=replayed NULL
header.herald.view=matches header.herald.outcome=expression {}
-- expect quality_rules
{"source":"riot.match","hour":"2026-01-21T12:00:00.000000Z","outcome":"constraint","rule":"sane_duration","rejected":1}
{"source":"riot.match","hour":"2026-01-31T11:00:00.000000Z","outcome":"constraint","rule":"match_id NOT NULL","rejected":1}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","outcome":"constraint","rule":"sane_duration","rejected":1}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","outcome":"decode","rule":"decode","rejected":2}
-- expect quality_hourly
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","received":6,"rejected_decode":2,"rejected_constraint":1,"rejected_late":0,"success_rate":0.5,"duplicates":2,"duplicate_share":0.3333333333333333,"late_share":0.0,"completeness":0.9393939393939394,"freshness_median_s":600.0,"freshness_p90_s":1080.0,"newest":"2026-01-31T12:33:00.000000Z"}
-- expect quality_alerts
{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
-- expect changes quality_alerts_out
{"key":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z"},"value":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}}

-- The next hour has one match that was fetched two days after its end, and the first match once more. Of Halo two
-- matches come, one of them without an end, and of skill an answer without a player, and a deletion. One of the two of
-- Riot is rejected as late: success is too low since the hour before.
-- feed dead_letters
header.herald.topic=riot.match header.herald.timestamp=1769864700000 header.herald.outcome=late {}
-- feed riot_match_raw
timestamp=2026-01-31T13:05:00Z {"metadata":{"matchId":"EUW1_4"},"info":{"platformId":"EUW1","gameId":4,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"16.2.1","gameStartTimestamp":1769689800000,"gameEndTimestamp":1769691600000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":"anna"}]}}
timestamp=2026-01-31T13:06:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"16.2.1","gameStartTimestamp":1769859600000,"gameEndTimestamp":1769861400000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":"anna"}]}}
-- feed halo_match_raw
timestamp=2026-01-31T12:40:00Z {"MatchId":"h1","MatchInfo":{"StartTime":"2026-01-31T11:40:00.000Z","EndTime":"2026-01-31T12:00:00.5Z","Duration":"PT10M","LifecycleMode":3,"GameVariantCategory":6,"MapVariant":{"AssetId":"m"},"SeasonId":"s"},"Players":[{"PlayerId":"xuid(1)"}]}
timestamp=2026-01-31T12:50:00Z {"MatchId":"h2","MatchInfo":{"StartTime":"2026-01-31T11:40:00.000Z","EndTime":"never","Duration":"PT10M","LifecycleMode":3,"GameVariantCategory":6,"MapVariant":{"AssetId":"m"},"SeasonId":"s"},"Players":[{"PlayerId":"xuid(1)"}]}
-- feed halo_skill_raw
timestamp=2026-01-31T12:40:00Z key=h1 {"Value": []}
timestamp=2026-01-31T12:41:00Z key=h1 NULL
-- expect quality_hourly
{"source":"halo.match","hour":"2026-01-31T12:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":0.0,"completeness":0.9444444444444444,"freshness_median_s":2399.5,"freshness_p90_s":2399.5,"newest":"2026-01-31T12:50:00.000000Z"}
{"source":"halo.skill","hour":"2026-01-31T12:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":1,"duplicate_share":0.5,"late_share":null,"completeness":0.25,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-01-31T12:41:00.000000Z"}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","received":6,"rejected_decode":2,"rejected_constraint":1,"rejected_late":0,"success_rate":0.5,"duplicates":2,"duplicate_share":0.3333333333333333,"late_share":0.0,"completeness":0.9393939393939394,"freshness_median_s":600.0,"freshness_p90_s":1080.0,"newest":"2026-01-31T12:33:00.000000Z"}
{"source":"riot.match","hour":"2026-01-31T13:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":1,"success_rate":0.5,"duplicates":1,"duplicate_share":0.5,"late_share":0.5,"completeness":1.0,"freshness_median_s":88230.0,"freshness_p90_s":156126.0,"newest":"2026-01-31T13:06:00.000000Z"}
-- expect quality_alerts
{"metric":"completeness","source":"halo.skill","hour":"2026-01-31T12:00:00.000000Z","value":0.25,"bound":0.9,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T13:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
-- expect quality_now
{"source":"halo.match","metric":"completeness","value":0.9444444444444444,"bound":0.9,"beyond":0}
{"source":"halo.match","metric":"duplicate_share","value":0.0,"bound":0.5,"beyond":0}
{"source":"halo.match","metric":"freshness_median_s","value":2399.5,"bound":null,"beyond":null}
{"source":"halo.match","metric":"freshness_p90_s","value":2399.5,"bound":172800.0,"beyond":0}
{"source":"halo.match","metric":"late_share","value":0.0,"bound":0.5,"beyond":0}
{"source":"halo.match","metric":"newest_s","value":1769863800.0,"bound":null,"beyond":null}
{"source":"halo.match","metric":"received","value":2.0,"bound":null,"beyond":null}
{"source":"halo.match","metric":"success_rate","value":1.0,"bound":0.95,"beyond":0}
{"source":"halo.skill","metric":"completeness","value":0.25,"bound":0.9,"beyond":1}
{"source":"halo.skill","metric":"duplicate_share","value":0.5,"bound":0.5,"beyond":0}
{"source":"halo.skill","metric":"newest_s","value":1769863260.0,"bound":null,"beyond":null}
{"source":"halo.skill","metric":"received","value":2.0,"bound":null,"beyond":null}
{"source":"halo.skill","metric":"success_rate","value":1.0,"bound":0.95,"beyond":0}
{"source":"riot.match","metric":"completeness","value":1.0,"bound":0.9,"beyond":0}
{"source":"riot.match","metric":"duplicate_share","value":0.5,"bound":0.5,"beyond":0}
{"source":"riot.match","metric":"freshness_median_s","value":88230.0,"bound":null,"beyond":null}
{"source":"riot.match","metric":"freshness_p90_s","value":156126.0,"bound":172800.0,"beyond":0}
{"source":"riot.match","metric":"late_share","value":0.5,"bound":0.5,"beyond":0}
{"source":"riot.match","metric":"newest_s","value":1769864760.0,"bound":null,"beyond":null}
{"source":"riot.match","metric":"received","value":2.0,"bound":null,"beyond":null}
{"source":"riot.match","metric":"success_rate","value":0.5,"bound":0.95,"beyond":1}

-- One record changes a threshold: success in half of the records is enough for Riot's matches, and a metric gets a
-- threshold that had none. A record without a direction that is known is refused, and changes nothing.
-- feed threshold_changes
{"key":{"metric":"success_rate","source":"riot.match"},"value":{"metric":"success_rate","source":"riot.match","bound":0.5,"direction":"below"}}
{"key":{"metric":"received","source":"halo.match"},"value":{"metric":"received","source":"halo.match","bound":10,"direction":"below"}}
{"key":{"metric":"late_share","source":"riot.match"},"value":{"metric":"late_share","source":"riot.match","bound":0,"direction":"over"}}
-- expect quality_thresholds
{"metric":"completeness","source":"halo.match","bound":0.9,"direction":"below","changed":false}
{"metric":"completeness","source":"halo.skill","bound":0.9,"direction":"below","changed":false}
{"metric":"completeness","source":"riot.match","bound":0.9,"direction":"below","changed":false}
{"metric":"completeness","source":"riot.timeline","bound":0.9,"direction":"below","changed":false}
{"metric":"duplicate_share","source":"halo.match","bound":0.5,"direction":"above","changed":false}
{"metric":"duplicate_share","source":"halo.skill","bound":0.5,"direction":"above","changed":false}
{"metric":"duplicate_share","source":"riot.match","bound":0.5,"direction":"above","changed":false}
{"metric":"duplicate_share","source":"riot.timeline","bound":0.5,"direction":"above","changed":false}
{"metric":"freshness_p90_s","source":"halo.match","bound":172800.0,"direction":"above","changed":false}
{"metric":"freshness_p90_s","source":"halo.skill","bound":172800.0,"direction":"above","changed":false}
{"metric":"freshness_p90_s","source":"riot.match","bound":172800.0,"direction":"above","changed":false}
{"metric":"freshness_p90_s","source":"riot.timeline","bound":172800.0,"direction":"above","changed":false}
{"metric":"late_share","source":"halo.match","bound":0.5,"direction":"above","changed":false}
{"metric":"late_share","source":"halo.skill","bound":0.5,"direction":"above","changed":false}
{"metric":"late_share","source":"riot.match","bound":0.5,"direction":"above","changed":false}
{"metric":"late_share","source":"riot.timeline","bound":0.5,"direction":"above","changed":false}
{"metric":"received","source":"halo.match","bound":10.0,"direction":"below","changed":true}
{"metric":"success_rate","source":"halo.match","bound":0.95,"direction":"below","changed":false}
{"metric":"success_rate","source":"halo.skill","bound":0.95,"direction":"below","changed":false}
{"metric":"success_rate","source":"riot.match","bound":0.5,"direction":"below","changed":true}
{"metric":"success_rate","source":"riot.timeline","bound":0.95,"direction":"below","changed":false}
-- expect quality_alerts
{"metric":"completeness","source":"halo.skill","hour":"2026-01-31T12:00:00.000000Z","value":0.25,"bound":0.9,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
{"metric":"received","source":"halo.match","hour":"2026-01-31T12:00:00.000000Z","value":2.0,"bound":10.0,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
-- expect changes quality_alerts_out
{"key":{"metric":"received","source":"halo.match","hour":"2026-01-31T12:00:00.000000Z"},"value":{"metric":"received","source":"halo.match","hour":"2026-01-31T12:00:00.000000Z","value":2.0,"bound":10.0,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}}
{"key":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z"},"value":null}
{"key":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T13:00:00.000000Z"},"value":null}

-- A record without a value brings the default back.
-- feed threshold_changes
{"key":{"metric":"success_rate","source":"riot.match"},"value":null}
{"key":{"metric":"received","source":"halo.match"},"value":null}
-- expect changes quality_alerts_out
{"key":{"metric":"received","source":"halo.match","hour":"2026-01-31T12:00:00.000000Z"},"value":null}
{"key":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z"},"value":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}}
{"key":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T13:00:00.000000Z"},"value":{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T13:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}}

-- More than a month later all sources have a record, one of them the first match again: what was known of its id is
-- gone, and so are the fields of that time. Then a record of three days before is late, and not counted.
-- feed riot_timeline_raw
timestamp=2026-03-05T12:00:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"frames":[{"events":[],"participantFrames":{}}]}}
-- feed halo_match_raw
timestamp=2026-03-05T12:00:00Z {}
-- feed halo_skill_raw
timestamp=2026-03-05T12:00:00Z key=h1 []
-- feed riot_match_raw
timestamp=2026-03-05T12:00:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"16.2.1","gameStartTimestamp":1769859600000,"gameEndTimestamp":1769861400000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":"anna"}]}}
timestamp=2026-03-02T12:00:00Z {"metadata":{"matchId":"EUW1_9"},"info":{"platformId":"EUW1","gameId":9,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"16.2.1","gameStartTimestamp":1769859600000,"gameEndTimestamp":1769861400000,"gameDuration":1800,"teams":[{"teamId":100}],"participants":[{"puuid":"anna"}]}}
-- expect outcomes riot_match_raw
{"read":10,"accepted":9,"duplicate":0,"superseded":0,"constraint":0,"decode":0,"late":1}
-- expect quality_fields
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"duration","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"end","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"map","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"match id","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"mode","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"player ids","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"players","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"queue","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","field":"start","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","field":"expectations","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","field":"match id","records":1,"missing":0,"missing_share":0.0}
{"source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","field":"player ids","records":1,"missing":1,"missing_share":1.0}
{"source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","field":"players","records":1,"missing":1,"missing_share":1.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"duration","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"end","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"map","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"mode","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"patch","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"platform","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"player ids","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"players","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"queue","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"start","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","field":"teams","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.timeline","hour":"2026-03-05T12:00:00.000000Z","field":"events","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.timeline","hour":"2026-03-05T12:00:00.000000Z","field":"frames","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.timeline","hour":"2026-03-05T12:00:00.000000Z","field":"match id","records":1,"missing":0,"missing_share":0.0}
{"source":"riot.timeline","hour":"2026-03-05T12:00:00.000000Z","field":"players","records":1,"missing":0,"missing_share":0.0}
-- expect quality_hourly
{"source":"halo.match","hour":"2026-01-31T12:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":0.0,"completeness":0.9444444444444444,"freshness_median_s":2399.5,"freshness_p90_s":2399.5,"newest":"2026-01-31T12:50:00.000000Z"}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":0.0,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-03-05T12:00:00.000000Z"}
{"source":"halo.skill","hour":"2026-01-31T12:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":1,"duplicate_share":0.5,"late_share":null,"completeness":0.25,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-01-31T12:41:00.000000Z"}
{"source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":0.25,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-03-05T12:00:00.000000Z"}
{"source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","received":6,"rejected_decode":2,"rejected_constraint":1,"rejected_late":0,"success_rate":0.5,"duplicates":2,"duplicate_share":0.3333333333333333,"late_share":0.0,"completeness":0.9393939393939394,"freshness_median_s":600.0,"freshness_p90_s":1080.0,"newest":"2026-01-31T12:33:00.000000Z"}
{"source":"riot.match","hour":"2026-01-31T13:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":1,"success_rate":0.5,"duplicates":1,"duplicate_share":0.5,"late_share":0.5,"completeness":1.0,"freshness_median_s":88230.0,"freshness_p90_s":156126.0,"newest":"2026-01-31T13:06:00.000000Z"}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":1.0,"completeness":1.0,"freshness_median_s":2850600.0,"freshness_p90_s":2850600.0,"newest":"2026-03-05T12:00:00.000000Z"}
{"source":"riot.timeline","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":1.0,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-03-05T12:00:00.000000Z"}
-- expect quality_alerts
{"metric":"completeness","source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","value":0.0,"bound":0.9,"direction":"below","since":"2026-03-05T12:00:00.000000Z"}
{"metric":"completeness","source":"halo.skill","hour":"2026-01-31T12:00:00.000000Z","value":0.25,"bound":0.9,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
{"metric":"completeness","source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","value":0.25,"bound":0.9,"direction":"below","since":"2026-03-05T12:00:00.000000Z"}
{"metric":"freshness_p90_s","source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","value":2850600.0,"bound":172800.0,"direction":"above","since":"2026-03-05T12:00:00.000000Z"}
{"metric":"late_share","source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","value":1.0,"bound":0.5,"direction":"above","since":"2026-03-05T12:00:00.000000Z"}
{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T12:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}
{"metric":"success_rate","source":"riot.match","hour":"2026-01-31T13:00:00.000000Z","value":0.5,"bound":0.95,"direction":"below","since":"2026-01-31T12:00:00.000000Z"}

-- What was late is a rejected record, with whom it names, until there is an order.
-- expect dead_letter
{"source":"riot_match_raw","partition":0,"offset":9,"outcome":"late","constraint":null,"message":"event time 2026-03-02T12:00:00.000000Z is below the partition's watermark 2026-03-04T12:00:00.000000Z"}
{"source":"threshold_changes","partition":0,"offset":2,"outcome":"constraint","constraint":"known_direction","message":"CHECK (direction IN ('above', 'below')) is false"}
-- feed erasures
{"subject":"anna"}
-- expect outcomes erasures
{"read":1,"accepted":1,"duplicate":0,"superseded":0,"constraint":0,"decode":0,"late":0}

-- A quarter later the hours of Riot's matches are gone with their alerts, also those that nothing has replaced among the
-- newest 720. The other sources have had no record since: theirs stay.
-- feed riot_match_raw
timestamp=2026-05-03T12:00:00Z {"metadata":{"matchId":"EUW1_10"},"info":{}}
-- expect quality_hourly
{"source":"halo.match","hour":"2026-01-31T12:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":0.0,"completeness":0.9444444444444444,"freshness_median_s":2399.5,"freshness_p90_s":2399.5,"newest":"2026-01-31T12:50:00.000000Z"}
{"source":"halo.match","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":0.0,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-03-05T12:00:00.000000Z"}
{"source":"halo.skill","hour":"2026-01-31T12:00:00.000000Z","received":2,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":1,"duplicate_share":0.5,"late_share":null,"completeness":0.25,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-01-31T12:41:00.000000Z"}
{"source":"halo.skill","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":0.25,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-03-05T12:00:00.000000Z"}
{"source":"riot.match","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":1.0,"completeness":1.0,"freshness_median_s":2850600.0,"freshness_p90_s":2850600.0,"newest":"2026-03-05T12:00:00.000000Z"}
{"source":"riot.match","hour":"2026-05-03T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":0.0,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-05-03T12:00:00.000000Z"}
{"source":"riot.timeline","hour":"2026-03-05T12:00:00.000000Z","received":1,"rejected_decode":0,"rejected_constraint":0,"rejected_late":0,"success_rate":1.0,"duplicates":0,"duplicate_share":0.0,"late_share":null,"completeness":1.0,"freshness_median_s":null,"freshness_p90_s":null,"newest":"2026-03-05T12:00:00.000000Z"}
-- expect herald.errors

-- restart
-- expect changes quality_alerts_out
