-- Days summed from now on also have the sums over all series, as those of series 0.
delete from summed_day;
