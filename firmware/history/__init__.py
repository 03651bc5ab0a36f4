"""What the meters said earlier: the last day in memory, and months and years on flash.

    history.py   all of it together
    recent.py    power and voltage of the last day or so, in a fixed piece of memory; gone with a restart
    recorder.py  takes a record of all meters at each interval, and commits records to flash
    segments.py  the files: append-only, bounded, read by range
    records.py   records for a service that delivers each of them, with a cursor that is kept

A consumer that wants every record once, such as posting, reads with Recorder.read(first_record=N) and keeps the number
behind the last record that it is done with: segments.Range says how, and what it means for one kept over restarts.
"""
