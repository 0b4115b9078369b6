// What somebody would have in the place of our trigger.

export const TRIGGERS = {
  'no trigger': '',
  'empty trigger': `create function nothing() returns trigger language plpgsql as $$ begin return null; end $$;
    create trigger nothing after insert on scraper_log execute function nothing()`,
  // As it stands in most tutorials.
  'row trigger': `create function tell() returns trigger language plpgsql as $$ begin perform pg_notify('log_updates', row_to_json(new)::text); return null; end $$;
    create trigger tell after insert on scraper_log for each row execute function tell()`
}

export type Trigger = keyof typeof TRIGGERS
