SELECT player, wins FROM {{ source('views', 'totals') }} WHERE wins < 0
