-- next_occurrence: the first time after `after` that a cron expression names, in a time zone; null: there is none within 28
-- years, the longest that a date and its day of the week need to come again, twelve more where a century has no leap day.
--
-- The expression as Swift has taken it apart: {"minutes": [0], "hours": [9], "days": [1, 15], "months": […], "weekdays": [0 … 6],
-- "lastDay": false, "eitherDay": false, "followsTime": false}. Days and weekdays must both fit, or, with eitherDay, one of them:
-- as in crontab(5).
--
-- Where the clocks change: with followsTime (every hour is given) every instant counts whose local time fits, so that no minute is
-- left out and the hour that comes twice counts twice. Else a local time that is skipped counts as much later, and
-- one that comes twice counts once.
--
-- The server's time zones, so that all schedulers agree.
CREATE OR REPLACE FUNCTION next_occurrence(cron jsonb, time_zone text, after timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  minutes  integer[] := ARRAY (SELECT jsonb_array_elements_text(cron -> 'minutes'));
  hours    integer[] := ARRAY (SELECT jsonb_array_elements_text(cron -> 'hours'));
  days     integer[] := ARRAY (SELECT jsonb_array_elements_text(cron -> 'days'));
  months   integer[] := ARRAY (SELECT jsonb_array_elements_text(cron -> 'months'));
  weekdays integer[] := ARRAY (SELECT jsonb_array_elements_text(cron -> 'weekdays'));
  last_day boolean   := (cron -> 'lastDay')::boolean;
  either   boolean   := (cron -> 'eitherDay')::boolean;
  follows  boolean   := (cron -> 'followsTime')::boolean;
  local_after timestamp := after AT TIME ZONE time_zone;
  -- Where a local time comes twice it may be this one or the other.
  shifts   interval[] := CASE WHEN follows THEN ARRAY['0', '-1 h', '1 h', '-30 min', '30 min', '-2 h', '2 h']
                              ELSE ARRAY['0'] END;
  -- The day before too: where a local day is skipped, what it has comes later.
  day      date      := local_after::date - 1;
  last     date      := day + 40 * 366;
  by_date  boolean;
  by_week  boolean;
  fitting  date[]    := '{}';
  found    timestamptz;
  local_found timestamp;
BEGIN
  -- Of what comes every hour the next is mostly near: a few minutes one by one cost less than two days at once.
  IF follows THEN
    found := date_trunc('minute', after);
    FOR ahead IN 1 .. 120 LOOP
      found := found + interval '1 min';
      local_found := found AT TIME ZONE time_zone;
      CONTINUE WHEN NOT extract(minute FROM local_found) = ANY (minutes)
                 OR NOT extract(month FROM local_found) = ANY (months);
      by_date := extract(day FROM local_found) = ANY (days)
                 OR last_day AND extract(day FROM local_found + interval '1 day') = 1;
      by_week := extract(dow FROM local_found) = ANY (weekdays);
      IF by_date AND by_week OR either AND (by_date OR by_week) THEN
        RETURN found;
      END IF;
    END LOOP;
    found := NULL;
  END IF;

  WHILE day <= last LOOP
    IF NOT extract(month FROM day) = ANY (months) THEN
      day := (date_trunc('month', day) + interval '1 month')::date;
      CONTINUE;
    END IF;
    by_date := extract(day FROM day) = ANY (days) OR last_day AND extract(day FROM day + 1) = 1;
    by_week := extract(dow FROM day) = ANY (weekdays);
    IF by_date AND by_week OR either AND (by_date OR by_week) THEN
      fitting := fitting || day;
    END IF;
    day := day + 1;

    -- Two days at a time: a time that is skipped may move into the next. Of the local times only those around `after`, and as many
    -- as there can be until it is past every change of the clocks.
    IF cardinality(fitting) >= 2 OR day > last THEN
      SELECT min(i.at) INTO found
        FROM (SELECT d.day + make_interval(hours => h.hour, mins => m.minute)
                FROM unnest(fitting) AS d (day), unnest(hours) AS h (hour), unnest(minutes) AS m (minute)
               WHERE d.day + make_interval(hours => h.hour, mins => m.minute) > local_after - interval '3 hours'
               ORDER BY 1
               LIMIT 500) AS l (local),
             unnest(shifts) AS s (shift),
             LATERAL (SELECT l.local AT TIME ZONE time_zone + s.shift) AS i (at)
       WHERE i.at > after
         AND (NOT follows OR i.at AT TIME ZONE time_zone = l.local);
      IF found IS NOT NULL THEN
        RETURN found;
      END IF;
      fitting := fitting[cardinality(fitting):];
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;
