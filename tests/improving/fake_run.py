"""A training that says what a test wants it to."""

from __future__ import annotations


class FakeRun:
    def __init__(self, job):
        self.job = job
        self.queue, self.running, self.stops, self.ended = [], True, 0, 0

    def is_running(self):
        return self.running

    def reports(self):
        taken, self.queue = self.queue, []
        return taken

    def stop(self):
        self.stops += 1

    def end(self):
        self.ended += 1

    def log(self):
        return "a line\nKilled\nexit status -9"

    def say(self, kind, **facts):
        self.queue.append({"kind": kind, **facts})

    def step(self, step, loss=1.0, score=None, sample=None):
        self.say("step", step=step, steps=10, loss=loss, score=score, sample=sample)

    def finish(self, root, after):
        """With a best model in ``root``, of scores ``after`` and 0.5, 0.6, 0.7 before."""
        best = root / "best.safetensors"
        root.mkdir(exist_ok=True)
        best.write_text("weights")
        self.say("result", best=str(best), before=[0.5, 0.6, 0.7], after=after)
        self.running = False
