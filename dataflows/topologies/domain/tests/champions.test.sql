-- Champions by patch, rank and role, their pick and ban rates, duos and match-ups.

-- topology ../10_model.sql
-- topology ../11_people.sql
-- topology ../20_riot.sql
-- topology ../21_halo.sql
-- topology ../30_ranks.sql
-- topology ../40_performance.sql
-- topology ../41_champions.sql

-- feed rank_changes
{"game":"lol","player_id":"anna","queue":"420","tier":"GOLD","division":"II","points":40,"wins":10,"losses":8,"as_of":"2024-04-01T00:00:00Z"}
-- feed riot_captures
timestamp=2024-05-01T12:00:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"14.7.571.9528","gameStartTimestamp":1714557600000,"gameEndTimestamp":1714559400000,"gameDuration":1800,"endOfGameResult":"GameComplete","participants":[{"participantId":1,"puuid":"anna","championId":103,"championName":"Ahri","teamId":100,"win":true,"kills":5,"deaths":0,"assists":7,"largestKillingSpree":5,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":12000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":false,"riotIdGameName":"Anna"},{"participantId":2,"puuid":"ben","championId":86,"championName":"Garen","teamId":100,"win":true,"kills":2,"deaths":4,"assists":1,"largestKillingSpree":2,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":8000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"TOP","gameEndedInEarlySurrender":false,"riotIdGameName":"Ben"},{"participantId":3,"puuid":"cleo","championId":99,"championName":"Lux","teamId":200,"win":false,"kills":1,"deaths":4,"assists":0,"largestKillingSpree":1,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":9000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":false,"riotIdGameName":"Cleo"},{"participantId":4,"puuid":"dora","championId":254,"championName":"Vi","teamId":200,"win":false,"kills":3,"deaths":3,"assists":2,"largestKillingSpree":3,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":3000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"TOP","gameEndedInEarlySurrender":false,"riotIdGameName":"Dora"}],"teams":[{"teamId":100,"win":true,"bans":[{"championId":-1,"pickTurn":1},{"championId":55,"pickTurn":2}],"objectives":{"tower":{"first":true,"kills":5},"champion":{"first":true,"kills":7}}},{"teamId":200,"win":false,"bans":[{"championId":55,"pickTurn":3}],"objectives":{"tower":{"first":false,"kills":2},"champion":{"first":false,"kills":4}}}]}}
timestamp=2024-05-01T12:00:01Z {"metadata":{"matchId":"EUW1_2"},"info":{"platformId":"EUW1","gameId":2,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"14.7.571.9528","gameStartTimestamp":1714560000000,"gameEndTimestamp":1714561800000,"gameDuration":1800,"endOfGameResult":"GameComplete","participants":[{"participantId":1,"puuid":"anna","championId":103,"championName":"Ahri","teamId":100,"win":false,"kills":1,"deaths":4,"assists":2,"largestKillingSpree":1,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":5000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":false,"riotIdGameName":"Anna"},{"participantId":2,"puuid":"cleo","championId":99,"championName":"Lux","teamId":100,"win":false,"kills":3,"deaths":2,"assists":6,"largestKillingSpree":3,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":15000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"UTILITY","gameEndedInEarlySurrender":false,"riotIdGameName":"Cleo"},{"participantId":3,"puuid":"ben","championId":254,"championName":"Vi","teamId":200,"win":true,"kills":9,"deaths":1,"assists":3,"largestKillingSpree":9,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":20000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":false,"riotIdGameName":"Ben"},{"participantId":4,"puuid":"dora","championId":86,"championName":"Garen","teamId":200,"win":true,"kills":0,"deaths":0,"assists":0,"largestKillingSpree":0,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":0,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"UTILITY","gameEndedInEarlySurrender":false,"riotIdGameName":"Dora"}],"teams":[{"teamId":100,"win":false,"bans":[{"championId":-1,"pickTurn":1},{"championId":55,"pickTurn":2}],"objectives":{"tower":{"first":true,"kills":5},"champion":{"first":true,"kills":4}}},{"teamId":200,"win":true,"bans":[{"championId":55,"pickTurn":3}],"objectives":{"tower":{"first":false,"kills":2},"champion":{"first":false,"kills":9}}}]}}
-- expect champion_performance
{"game":"lol","champion_id":86,"champion":"Garen","games":2,"wins":2,"win_rate":1.0,"kills":2,"deaths":4,"assists":1,"kda":0.75,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.2,"vision_score":20.0,"accuracy":null,"played_s":3600.0}
{"game":"lol","champion_id":99,"champion":"Lux","games":2,"wins":0,"win_rate":0.0,"kills":4,"deaths":6,"assists":6,"kda":1.6666666666666667,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.75,"vision_score":20.0,"accuracy":null,"played_s":3600.0}
{"game":"lol","champion_id":103,"champion":"Ahri","games":2,"wins":1,"win_rate":0.5,"kills":6,"deaths":4,"assists":9,"kda":3.75,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.425,"vision_score":20.0,"accuracy":null,"played_s":3600.0}
{"game":"lol","champion_id":254,"champion":"Vi","games":2,"wins":1,"win_rate":0.5,"kills":12,"deaths":4,"assists":5,"kda":4.25,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.625,"vision_score":20.0,"accuracy":null,"played_s":3600.0}
-- expect champion_win_rates
{"game":"lol","patch":"14.7","tier":"GOLD","role":"MIDDLE","champion_id":103,"champion":"Ahri","games":2,"wins":1,"win_rate":0.5}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"MIDDLE","champion_id":99,"champion":"Lux","games":1,"wins":0,"win_rate":0.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"MIDDLE","champion_id":254,"champion":"Vi","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"TOP","champion_id":86,"champion":"Garen","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"TOP","champion_id":254,"champion":"Vi","games":1,"wins":0,"win_rate":0.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"UTILITY","champion_id":86,"champion":"Garen","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"UTILITY","champion_id":99,"champion":"Lux","games":1,"wins":0,"win_rate":0.0}
-- expect champion_rates
{"game":"lol","patch":"14.7","queue":"420","champion_id":55,"picked":0,"banned":2,"matches":2,"pick_rate":0.0,"ban_rate":1.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":86,"picked":2,"banned":0,"matches":2,"pick_rate":1.0,"ban_rate":0.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":99,"picked":2,"banned":0,"matches":2,"pick_rate":1.0,"ban_rate":0.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":103,"picked":2,"banned":0,"matches":2,"pick_rate":1.0,"ban_rate":0.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":254,"picked":2,"banned":0,"matches":2,"pick_rate":1.0,"ban_rate":0.0}
-- expect duos
{"game":"lol","player_a":"anna","player_b":"ben","games":1,"wins":1,"win_rate":1.0,"last_played":"2024-05-01T10:30:00.000000Z"}
{"game":"lol","player_a":"anna","player_b":"cleo","games":1,"wins":0,"win_rate":0.0,"last_played":"2024-05-01T11:10:00.000000Z"}
{"game":"lol","player_a":"ben","player_b":"dora","games":1,"wins":1,"win_rate":1.0,"last_played":"2024-05-01T11:10:00.000000Z"}
{"game":"lol","player_a":"cleo","player_b":"dora","games":1,"wins":0,"win_rate":0.0,"last_played":"2024-05-01T10:30:00.000000Z"}
-- expect champion_duos
{"game":"lol","champion_id":86,"with_champion_id":103,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","champion_id":86,"with_champion_id":254,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","champion_id":99,"with_champion_id":103,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","champion_id":99,"with_champion_id":254,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","champion_id":103,"with_champion_id":86,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","champion_id":103,"with_champion_id":99,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","champion_id":254,"with_champion_id":86,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","champion_id":254,"with_champion_id":99,"games":1,"wins":0,"win_rate":0.0}
-- expect match_ups
{"game":"lol","role":"MIDDLE","champion_id":99,"against_champion_id":103,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","role":"MIDDLE","champion_id":103,"against_champion_id":99,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","role":"MIDDLE","champion_id":103,"against_champion_id":254,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","role":"MIDDLE","champion_id":254,"against_champion_id":103,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","role":"TOP","champion_id":86,"against_champion_id":254,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","role":"TOP","champion_id":254,"against_champion_id":86,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","role":"UTILITY","champion_id":86,"against_champion_id":99,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","role":"UTILITY","champion_id":99,"against_champion_id":86,"games":1,"wins":0,"win_rate":0.0}

-- A rank that began between the two matches arrives late: the second match was played in it.
-- feed rank_changes
{"game":"lol","player_id":"anna","queue":"420","tier":"PLATINUM","division":"IV","points":0,"wins":11,"losses":8,"as_of":"2024-05-01T10:35:00Z"}
-- expect champion_win_rates
{"game":"lol","patch":"14.7","tier":"GOLD","role":"MIDDLE","champion_id":103,"champion":"Ahri","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"PLATINUM","role":"MIDDLE","champion_id":103,"champion":"Ahri","games":1,"wins":0,"win_rate":0.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"MIDDLE","champion_id":99,"champion":"Lux","games":1,"wins":0,"win_rate":0.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"MIDDLE","champion_id":254,"champion":"Vi","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"TOP","champion_id":86,"champion":"Garen","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"TOP","champion_id":254,"champion":"Vi","games":1,"wins":0,"win_rate":0.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"UTILITY","champion_id":86,"champion":"Garen","games":1,"wins":1,"win_rate":1.0}
{"game":"lol","patch":"14.7","tier":"UNRANKED","role":"UTILITY","champion_id":99,"champion":"Lux","games":1,"wins":0,"win_rate":0.0}

-- A remake of the first match: it counts for nobody.
-- feed riot_captures
timestamp=2024-05-02T12:00:00Z {"metadata":{"matchId":"EUW1_1"},"info":{"platformId":"EUW1","gameId":1,"gameMode":"CLASSIC","queueId":420,"mapId":11,"gameVersion":"14.7.571.9528","gameStartTimestamp":1714557600000,"gameEndTimestamp":1714559400000,"gameDuration":1800,"endOfGameResult":"GameComplete","participants":[{"participantId":1,"puuid":"anna","championId":103,"championName":"Ahri","teamId":100,"win":true,"kills":5,"deaths":0,"assists":7,"largestKillingSpree":5,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":12000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":true,"riotIdGameName":"Anna"},{"participantId":2,"puuid":"ben","championId":86,"championName":"Garen","teamId":100,"win":true,"kills":2,"deaths":4,"assists":1,"largestKillingSpree":2,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":8000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"TOP","gameEndedInEarlySurrender":true,"riotIdGameName":"Ben"},{"participantId":3,"puuid":"cleo","championId":99,"championName":"Lux","teamId":200,"win":false,"kills":1,"deaths":4,"assists":0,"largestKillingSpree":1,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":9000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"MIDDLE","gameEndedInEarlySurrender":true,"riotIdGameName":"Cleo"},{"participantId":4,"puuid":"dora","championId":254,"championName":"Vi","teamId":200,"win":false,"kills":3,"deaths":3,"assists":2,"largestKillingSpree":3,"totalMinionsKilled":100,"neutralMinionsKilled":0,"goldEarned":9000,"totalDamageDealtToChampions":3000,"totalDamageTaken":12000,"visionScore":20,"timePlayed":1800,"teamPosition":"TOP","gameEndedInEarlySurrender":true,"riotIdGameName":"Dora"}],"teams":[{"teamId":100,"win":true,"bans":[{"championId":-1,"pickTurn":1},{"championId":55,"pickTurn":2}],"objectives":{"tower":{"first":true,"kills":5},"champion":{"first":true,"kills":7}}},{"teamId":200,"win":false,"bans":[{"championId":55,"pickTurn":3}],"objectives":{"tower":{"first":false,"kills":2},"champion":{"first":false,"kills":4}}}]}}
-- expect champion_performance
{"game":"lol","champion_id":86,"champion":"Garen","games":1,"wins":1,"win_rate":1.0,"kills":0,"deaths":0,"assists":0,"kda":0.0,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.0,"vision_score":20.0,"accuracy":null,"played_s":1800.0}
{"game":"lol","champion_id":99,"champion":"Lux","games":1,"wins":0,"win_rate":0.0,"kills":3,"deaths":2,"assists":6,"kda":4.5,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.75,"vision_score":20.0,"accuracy":null,"played_s":1800.0}
{"game":"lol","champion_id":103,"champion":"Ahri","games":1,"wins":0,"win_rate":0.0,"kills":1,"deaths":4,"assists":2,"kda":0.75,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":0.25,"vision_score":20.0,"accuracy":null,"played_s":1800.0}
{"game":"lol","champion_id":254,"champion":"Vi","games":1,"wins":1,"win_rate":1.0,"kills":9,"deaths":1,"assists":3,"kda":12.0,"cs_per_min":3.3333333333333335,"gold_per_min":300.0,"damage_share":1.0,"vision_score":20.0,"accuracy":null,"played_s":1800.0}
-- expect champion_rates
{"game":"lol","patch":"14.7","queue":"420","champion_id":55,"picked":0,"banned":1,"matches":1,"pick_rate":0.0,"ban_rate":1.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":86,"picked":1,"banned":0,"matches":1,"pick_rate":1.0,"ban_rate":0.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":99,"picked":1,"banned":0,"matches":1,"pick_rate":1.0,"ban_rate":0.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":103,"picked":1,"banned":0,"matches":1,"pick_rate":1.0,"ban_rate":0.0}
{"game":"lol","patch":"14.7","queue":"420","champion_id":254,"picked":1,"banned":0,"matches":1,"pick_rate":1.0,"ban_rate":0.0}
-- expect duos
{"game":"lol","player_a":"anna","player_b":"cleo","games":1,"wins":0,"win_rate":0.0,"last_played":"2024-05-01T11:10:00.000000Z"}
{"game":"lol","player_a":"ben","player_b":"dora","games":1,"wins":1,"win_rate":1.0,"last_played":"2024-05-01T11:10:00.000000Z"}
-- expect champion_duos
{"game":"lol","champion_id":86,"with_champion_id":254,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","champion_id":99,"with_champion_id":103,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","champion_id":103,"with_champion_id":99,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","champion_id":254,"with_champion_id":86,"games":1,"wins":1,"win_rate":1.0}
-- expect match_ups
{"game":"lol","role":"MIDDLE","champion_id":103,"against_champion_id":254,"games":1,"wins":0,"win_rate":0.0}
{"game":"lol","role":"MIDDLE","champion_id":254,"against_champion_id":103,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","role":"UTILITY","champion_id":86,"against_champion_id":99,"games":1,"wins":1,"win_rate":1.0}
{"game":"lol","role":"UTILITY","champion_id":99,"against_champion_id":86,"games":1,"wins":0,"win_rate":0.0}
