#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""scraper.py URL COUNT EVERY SECONDS TYPE: COUNT scrapers at once, every EVERY seconds; prints an object of JSON."""
import json
import os
import sys
import threading
import time
import urllib.request


def scrape(url, kind, took):
    start = time.monotonic()
    request = urllib.request.Request(url, headers={'Accept': kind})
    with urllib.request.urlopen(request, timeout=30) as answer:
        octets = len(answer.read())
    took.append((time.monotonic() - start, octets))


def main():
    url, kind = sys.argv[1], sys.argv[5]
    count, every, seconds = int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    os.sched_setaffinity(0, {0})
    took, end = [], time.monotonic() + seconds
    due = time.monotonic()
    while due < end:
        threads = [threading.Thread(target=scrape, args=(url, kind, took)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        due += every
        time.sleep(max(0, due - time.monotonic()))
    print(json.dumps({'scrapes': len(took), 'octets': took[-1][1] if took else 0,
                      'ms_most': 1000 * max((t for t, _ in took), default=0)}))


main()
