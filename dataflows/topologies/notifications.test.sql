-- Notifications: once a trigger, when the user wants to hear it, with what became of it.

-- topology notifications.sql

-- u1 sleeps from 22:00 to 07:00 at UTC+2 and wants no word of ranks; u2 is quiet over noon, by mail.
-- feed notification_preferences
{"user_id":"u1","kind":"trend","enabled":true,"channel":"push","quiet_from":1320,"quiet_until":420,"utc_offset_min":120,"updated_at":"2024-05-01T00:00:00Z"}
{"user_id":"u1","kind":"rank","enabled":false,"channel":"push","quiet_from":null,"quiet_until":null,"utc_offset_min":120,"updated_at":"2024-05-01T00:00:00Z"}
{"user_id":"u2","kind":"trend","enabled":true,"channel":"mail","quiet_from":720,"quiet_until":780,"utc_offset_min":0,"updated_at":"2024-05-01T00:00:00Z"}
-- expect notifications

-- 20:30 UTC is 22:30 there, 04:59 is 06:59, 10:00 is the day; a rank is not told; u3 has said nothing.
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t1","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-01T20:30:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t2","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T04:59:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t3","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T10:00:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t4","user_id":"u1","kind":"rank","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T10:00:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t5","user_id":"u2","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T12:15:30Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t6","user_id":"u3","kind":"rank","game":"lol","subject":"Promoted to GOLD","occurred_at":"2024-05-02T12:15:00Z"},"op":"c"}
-- expect notifications
{"trigger_id":"t1","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-01T20:30:00.000000Z","not_before":"2024-05-02T05:00:00.000000Z"}
{"trigger_id":"t2","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-02T04:59:00.000000Z","not_before":"2024-05-02T05:00:00.000000Z"}
{"trigger_id":"t3","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","occurred_at":"2024-05-02T10:00:00.000000Z","not_before":"2024-05-02T10:00:00.000000Z"}
{"trigger_id":"t5","user_id":"u2","kind":"trend","subject":"You are playing better than usual","channel":"mail","occurred_at":"2024-05-02T12:15:30.000000Z","not_before":"2024-05-02T13:00:30.000000Z"}
{"trigger_id":"t6","user_id":"u3","kind":"rank","subject":"Promoted to GOLD","channel":"app","occurred_at":"2024-05-02T12:15:00.000000Z","not_before":"2024-05-02T12:15:00.000000Z"}
-- expect changes notifications_out
{"key":{"trigger_id":"t1"},"value":{"event_id":"b16a178f-f357-7606-5be0-458c4aae9023","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-05-01T20:30:00.000000Z","correlation_id":null,"causation_id":null,"trigger_id":"t1","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T05:00:00.000000Z"}}
{"key":{"trigger_id":"t2"},"value":{"event_id":"f7359f95-b61c-1503-2e0f-0b505b293012","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-05-02T04:59:00.000000Z","correlation_id":null,"causation_id":null,"trigger_id":"t2","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T05:00:00.000000Z"}}
{"key":{"trigger_id":"t3"},"value":{"event_id":"18c1565b-b020-0956-fa88-923ebc17abb0","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-05-02T10:00:00.000000Z","correlation_id":null,"causation_id":null,"trigger_id":"t3","user_id":"u1","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T10:00:00.000000Z"}}
{"key":{"trigger_id":"t5"},"value":{"event_id":"05453c2e-628d-4f65-b5a5-eda4ec2377fb","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-05-02T12:15:30.000000Z","correlation_id":null,"causation_id":null,"trigger_id":"t5","user_id":"u2","kind":"trend","subject":"You are playing better than usual","channel":"mail","not_before":"2024-05-02T13:00:30.000000Z"}}
{"key":{"trigger_id":"t6"},"value":{"event_id":"9e1784e0-b6c2-d470-59e0-19c1c784d310","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-05-02T12:15:00.000000Z","correlation_id":null,"causation_id":null,"trigger_id":"t6","user_id":"u3","kind":"rank","subject":"Promoted to GOLD","channel":"app","not_before":"2024-05-02T12:15:00.000000Z"}}

-- Triggers that come again, are corrected, and are taken back: nobody hears twice.
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t1","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-01T20:30:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t3","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T11:00:00Z"},"op":"u"}
{"before":{"trigger_id":"t2","user_id":"u1"},"after":null,"op":"d"}
{"before":null,"after":{"trigger_id":"t5","user_id":"u2","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-02T12:15:30Z"},"op":"c"}
-- expect changes notifications_out

-- u1 wants to hear of ranks from now on, whatever a clock ahead has said: t4 is past, t7 is told.
-- feed notification_preferences
timestamp=2024-05-03T00:00:00Z {"user_id":"u1","kind":"rank","enabled":false,"updated_at":"2099-01-01T00:00:00Z"}
{"user_id":"u1","kind":"rank","enabled":true,"channel":"app","quiet_from":null,"quiet_until":null,"utc_offset_min":120,"updated_at":"2024-05-03T00:00:00Z"}
-- expect changes notifications_out
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t7","user_id":"u1","kind":"rank","game":"lol","subject":"Demoted to SILVER","occurred_at":"2024-05-03T10:00:00Z"},"op":"c"}
-- expect changes notifications_out
{"key":{"trigger_id":"t7"},"value":{"event_id":"4370bd5c-02b5-24f1-6af6-6cc7245eda5d","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-05-03T10:00:00.000000Z","correlation_id":null,"causation_id":null,"trigger_id":"t7","user_id":"u1","kind":"rank","subject":"Demoted to SILVER","channel":"app","not_before":"2024-05-03T10:00:00.000000Z"}}

-- What became of them: t1 failed twice and came through, t3 was clicked, t5 failed; a delivery of what was never sent.
-- feed failed
{"event_id":"f1","trigger_id":"t1","user_id":"u1","occurred_at":"2024-05-02T05:00:00Z","reason":"timeout"}
{"event_id":"f2","trigger_id":"t1","user_id":"u1","occurred_at":"2024-05-02T05:01:00Z","reason":"refused"}
{"event_id":"f3","trigger_id":"t5","user_id":"u2","occurred_at":"2024-05-02T13:00:00Z","reason":"no such address"}
-- feed delivered
{"event_id":"d1","trigger_id":"t1","user_id":"u1","occurred_at":"2024-05-02T05:02:00Z"}
{"event_id":"d2","trigger_id":"t3","user_id":"u1","occurred_at":"2024-05-02T10:00:01Z"}
{"event_id":"d2","trigger_id":"t3","user_id":"u1","occurred_at":"2024-05-02T10:00:01Z"}
{"event_id":"d3","trigger_id":"t9","user_id":"u9","occurred_at":"2024-05-02T10:00:01Z"}
-- feed clicked
{"event_id":"c1","trigger_id":"t3","user_id":"u1","occurred_at":"2024-05-02T10:05:00Z"}
-- expect notification_history
{"user_id":"u1","trigger_id":"t1","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T05:00:00.000000Z","state":"delivered","delivered_at":"2024-05-02T05:02:00.000000Z","clicked_at":null,"failures":2,"last_reason":"refused"}
{"user_id":"u1","trigger_id":"t2","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T05:00:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
{"user_id":"u1","trigger_id":"t3","kind":"trend","subject":"You are playing better than usual","channel":"push","not_before":"2024-05-02T10:00:00.000000Z","state":"clicked","delivered_at":"2024-05-02T10:00:01.000000Z","clicked_at":"2024-05-02T10:05:00.000000Z","failures":null,"last_reason":null}
{"user_id":"u1","trigger_id":"t7","kind":"rank","subject":"Demoted to SILVER","channel":"app","not_before":"2024-05-03T10:00:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
{"user_id":"u2","trigger_id":"t5","kind":"trend","subject":"You are playing better than usual","channel":"mail","not_before":"2024-05-02T13:00:30.000000Z","state":"failed","delivered_at":null,"clicked_at":null,"failures":1,"last_reason":"no such address"}
{"user_id":"u3","trigger_id":"t6","kind":"rank","subject":"Promoted to GOLD","channel":"app","not_before":"2024-05-02T12:15:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
-- expect notification_totals
{"user_id":"u1","sent":4,"delivered":2,"clicked":1,"failed":0}
{"user_id":"u2","sent":1,"delivered":0,"clicked":0,"failed":1}
{"user_id":"u3","sent":1,"delivered":0,"clicked":0,"failed":0}
-- restart
-- expect notification_totals
{"user_id":"u1","sent":4,"delivered":2,"clicked":1,"failed":0}
{"user_id":"u2","sent":1,"delivered":0,"clicked":0,"failed":1}
{"user_id":"u3","sent":1,"delivered":0,"clicked":0,"failed":0}

-- u1 is erased: nothing of them is left, the notifications that were sent are taken back, and what comes later is not told.
-- feed erasures
{"subject":"u1","requested_at":"2024-05-04T00:00:00Z"}
-- expect notifications
{"trigger_id":"t5","user_id":"u2","kind":"trend","subject":"You are playing better than usual","channel":"mail","occurred_at":"2024-05-02T12:15:30.000000Z","not_before":"2024-05-02T13:00:30.000000Z"}
{"trigger_id":"t6","user_id":"u3","kind":"rank","subject":"Promoted to GOLD","channel":"app","occurred_at":"2024-05-02T12:15:00.000000Z","not_before":"2024-05-02T12:15:00.000000Z"}
-- expect notification_history
{"user_id":"u2","trigger_id":"t5","kind":"trend","subject":"You are playing better than usual","channel":"mail","not_before":"2024-05-02T13:00:30.000000Z","state":"failed","delivered_at":null,"clicked_at":null,"failures":1,"last_reason":"no such address"}
{"user_id":"u3","trigger_id":"t6","kind":"rank","subject":"Promoted to GOLD","channel":"app","not_before":"2024-05-02T12:15:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
-- expect notification_totals
{"user_id":"u2","sent":1,"delivered":0,"clicked":0,"failed":1}
{"user_id":"u3","sent":1,"delivered":0,"clicked":0,"failed":0}
-- expect changes notifications_out
{"key":{"trigger_id":"t1"},"value":null}
{"key":{"trigger_id":"t2"},"value":null}
{"key":{"trigger_id":"t3"},"value":null}
{"key":{"trigger_id":"t7"},"value":null}
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t8","user_id":"u1","kind":"rank","game":"lol","subject":"Promoted to GOLD","occurred_at":"2024-05-04T10:00:00Z"},"op":"c"}
{"before":null,"after":{"trigger_id":"t1","user_id":"u1","kind":"trend","game":"lol","subject":"You are playing better than usual","occurred_at":"2024-05-01T20:30:00Z"},"op":"c"}
-- feed delivered
{"event_id":"d4","trigger_id":"t7","user_id":"u1","occurred_at":"2024-05-04T10:00:01Z"}
-- expect changes notifications_out
-- expect notification_totals
{"user_id":"u2","sent":1,"delivered":0,"clicked":0,"failed":1}
{"user_id":"u3","sent":1,"delivered":0,"clicked":0,"failed":0}

-- 89 days later: the history is empty but for u4, and an order still finds whoever is in it.
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"t10","user_id":"u4","kind":"rank","game":"lol","subject":"Promoted to GOLD","occurred_at":"2024-07-30T14:00:00Z"},"op":"c"}
-- expect notification_history
{"user_id":"u4","trigger_id":"t10","kind":"rank","subject":"Promoted to GOLD","channel":"app","not_before":"2024-07-30T14:00:00.000000Z","state":"sent","delivered_at":null,"clicked_at":null,"failures":null,"last_reason":null}
-- feed erasures
{"subject":"u4","requested_at":"2024-07-31T00:00:00Z"}
-- expect notification_history
-- expect notification_totals

-- A trigger by a trend of the domain names it as its cause.
-- feed trigger_changes
{"before":null,"after":{"trigger_id":"7d793037a0760186574b0282f2f435e7","user_id":"u3","kind":"trend","game":"lol","subject":"Your form is falling","occurred_at":"2024-07-31T10:00:00Z"},"op":"c"}
-- expect changes notifications_out
{"key":{"trigger_id":"7d793037a0760186574b0282f2f435e7"},"value":{"event_id":"44bdb182-a0f8-3b76-653e-f7dffcfa62ad","event_type":"notification.triggered","event_version":1,"source":"herald","occurred_at":"2024-07-31T10:00:00.000000Z","correlation_id":"7d793037-a076-0186-574b-0282f2f435e7","causation_id":"7d793037-a076-0186-574b-0282f2f435e7","trigger_id":"7d793037a0760186574b0282f2f435e7","user_id":"u3","kind":"trend","subject":"Your form is falling","channel":"app","not_before":"2024-07-31T10:00:00.000000Z"}}
