"""Tests of the harness itself: each tries to make something wrong look CORRECT."""
