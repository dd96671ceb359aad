from app.github.text import *  # noqa
from app.github.text import quoted, fenced, cleaned  # noqa
