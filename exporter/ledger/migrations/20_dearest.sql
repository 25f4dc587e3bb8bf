-- The dearest entry among those that a row sums, so that the dearest requests of a month are found at once.
alter table rollup add column dearest integer not null default 0;
update rollup set dearest = e.dearest
from (select ts_ms / 900000 as bucket, series, basis, billing, max(iif(counted, nano_usd, 0)) as dearest from entry
      group by 1, 2, 3, 4) e
where rollup.bucket = e.bucket and rollup.series = e.series and rollup.basis = e.basis and rollup.billing = e.billing;
