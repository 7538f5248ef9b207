"""Plan: a frozen teacher, given as stored features joined to raw films; the student's head learns to say the same."""

from dataclasses import dataclass, field

from coview.data.views import FeaturesView, VideoView
from coview.encoders import build_for, mlp
from coview.methods.contract import About, Method, Step
from coview.methods.parts.batch import TINY_VIDEO, unit
from coview.parallel import mean_over_world


@dataclass(frozen=True, kw_only=True)
class Settings:
    video: VideoView = field(default_factory=lambda: TINY_VIDEO)
    teacher: FeaturesView = field(default_factory=lambda: FeaturesView(dim=8))

    @classmethod
    def tiny(cls):
        return cls()

    def specs(self):
        return {"video": self.video, "teacher": self.teacher}


class Student(Method):
    about = About(slug="plan-student", title="Student of a frozen teacher", paper="plan", family="plan", state="plan")
    Settings = Settings
    coupling = "none"

    def __init__(self, settings, facts):
        super().__init__(settings, facts)
        encoder = build_for(settings.video, "video-tiny")
        self.encoders["video"] = encoder
        self.projectors["video"] = mlp((encoder.dim, 32, settings.teacher.dim))

    def learn(self, batch):
        z = unit(self.projectors["video"](self.encoders["video"](batch.views["video"])))
        wrong = 1 - (z * unit(batch.views["teacher"])).sum(1)
        return Step(mean_over_world(wrong), {}, {"video": z.detach()})
