"""Calls at a steady rate until a file appears; then says how many there were and which failed.

traffic.py URL TOKEN STOP-FILE REPORT-FILE
"""

import http.client
import json
import pathlib
import sys
import threading
import time
import urllib.parse

url, token, stop, report = sys.argv[1:]
address = urllib.parse.urlsplit(url).netloc
body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]})
headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01", "content-type": "application/json"}
failed, done = [], 0
lock = threading.Lock()


def call(stream):
    global done
    asked, more = body, dict(headers)
    if stream:
        asked = body[:-1] + ', "stream": true}'
        more["anthropic-standin"] = "events=40;gap=50"
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", "/v1/messages", asked, more)
        answer = connection.getresponse()
        text = answer.read()
        problem = None if answer.status == 200 else f"{answer.status} {text[:200]!r}"
        if stream and not problem and b"message_stop" not in text:
            problem = "a stream was cut"
    except OSError as error:
        problem = repr(error)
    except http.client.HTTPException as error:
        problem = repr(error)
    finally:
        connection.close()
    with lock:
        done += 1
        if problem:
            failed.append(problem)


threads = []
number = 0
while not pathlib.Path(stop).exists():
    thread = threading.Thread(target=call, args=(number % 10 == 0,))
    thread.start()
    threads.append(thread)
    number += 1
    time.sleep(0.02)
for thread in threads:
    thread.join()
pathlib.Path(report).write_text(f"{done} calls, {len(failed)} failed\n" + "\n".join(failed[:5]))
