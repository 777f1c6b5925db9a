# syntax=docker/dockerfile:1
# The commands of kidney_seg.   CPU: docker build -t kidney_seg .   GPU: docker build -t kidney_seg --build-arg DEVICE=gpu .
FROM python:3.12-slim-bookworm

ARG DEVICE=cpu

WORKDIR /app
COPY requirements.txt requirements-serving.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements-serving.txt

# On a GPU, TensorFlow with CUDA takes the place of the one without.
RUN if [ "$DEVICE" = gpu ]; then \
      pip uninstall --yes tensorflow-cpu && \
      pip install --no-cache-dir 'tensorflow[and-cuda]==2.21.0'; \
    fi

COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY data_prep data_prep
COPY kidney_seg kidney_seg
RUN pip install --no-cache-dir --no-index --no-deps --no-build-isolation .

RUN useradd --uid 1000 --create-home user && mkdir /models && chown user /models
USER 1000
WORKDIR /home/user
ENTRYPOINT ["kidney-seg"]
